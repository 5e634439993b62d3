/* SPDX-License-Identifier: MIT */
#ifndef LILAC_EXPERIMENTS_LORA_PUBLISHED_H
#define LILAC_EXPERIMENTS_LORA_PUBLISHED_H

#include "experiments/lora_table.h"

/*
 * The report's figures at that hidden width (64 and 512 were published), or NULL. What it does not give is NaN, and 0
 * for a rank of change; it gives one rank of change, which stands under all three variants.
 */
const lilac_lora_figures *lilac_lora_published(size_t hidden);

/*
 * Points by which a measured mean may differ from its published figure before the difference is pointed out: that much
 * is to be expected of single runs with other random numbers. rank 0 stands for the base.
 */
double lilac_lora_tolerance(size_t hidden, size_t rank);

#endif
