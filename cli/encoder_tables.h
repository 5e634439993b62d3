/* SPDX-License-Identifier: MIT */
/* The times of transformer layers as a table. */
#ifndef LILAC_CLI_ENCODER_TABLES_H
#define LILAC_CLI_ENCODER_TABLES_H

#include "session.h"

#include "bench/encoder_sweep.h"

/* Prints the times, how they grow, and the peak that their shares are of. Errors: MEMORY. */
LILAC_MUST_USE lilac_status lilac_encoder_tables_print(lilac_session *session, const lilac_encoder_sweep *sweep);

#endif
