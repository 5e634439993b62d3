/* SPDX-License-Identifier: MIT */
/* The speed and memory of transformers as tables. */
#ifndef LILAC_CLI_TRANSFORMER_TABLES_H
#define LILAC_CLI_TRANSFORMER_TABLES_H

#include "session.h"

#include "bench/transformer_sweep.h"

/* Prints training, its memory, generation, and the peaks that shares are of. Errors: MEMORY. */
LILAC_MUST_USE lilac_status lilac_transformer_tables_print(lilac_session *session,
                                                           const lilac_transformer_sweep *sweep);

#endif
