/* SPDX-License-Identifier: MIT */
/* The parts of an MLP's evaluation, for training. */
#ifndef LILAC_TRAIN_EVALUATE_MLP_H
#define LILAC_TRAIN_EVALUATE_MLP_H

#include <lilac/train.h>

/* Whether the view has images, all of which exist and fit the model. Errors: ARGUMENT, OVERFLOW, SHAPE. */
lilac_status lilac_mlp_check_view(lilac_context *context, const lilac_mlp *mlp, const lilac_data_view *view);

/* lilac_evaluate_mlp for a view that was checked; a loss that is not finite is no error here. */
lilac_status lilac_mlp_evaluate_view(lilac_context *context, const lilac_mlp *mlp, const lilac_adapter *adapter,
                                     const lilac_data_view *view, lilac_evaluation *out);

#endif
