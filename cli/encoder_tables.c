/* SPDX-License-Identifier: MIT */
#include "encoder_tables.h"

#include <math.h>
#include <stdio.h>

static lilac_status print_points(lilac_session *session, const lilac_encoder_sweep *sweep) {
    static const char *const head[] = {"attention", "N",       "batch",   "ms a sequence",
                                       "mean ms",   "GFLOP/s", "of peak", "memory MB"};
    lilac_table *table = lilac_table_create_headed("lrrrrrrr", LILAC_COUNT(head), head);
    for (size_t kind = 0; kind < LILAC_SWEEP_KINDS; kind++) {
        lilac_table_rule(table);
        for (size_t t = 0; t < sweep->config.length_count; t++) {
            const lilac_bench_encoder_figures *figures = &sweep->figures[kind][t];
            const double rate = lilac_encoder_sweep_rate(sweep, kind, t);
            lilac_table_cell(table, "%s", lilac_sweep_kind_names[kind]);
            lilac_table_cell(table, "%d", sweep->config.lengths[t]);
            lilac_table_cell(table, "%zu", sweep->batches[t]);
            lilac_table_cell(table, "%.3f", 1e3 * sweep->per_sequence[kind][t]);
            lilac_table_cell(table, "%.3f", 1e3 * figures->mean_seconds / (double)sweep->batches[t]);
            lilac_table_cell(table, "%.1f", rate);
            lilac_table_cell(table, "%.0f %%", 100.0 * rate / sweep->peak);
            lilac_table_cell(table, "%.0f", 1e-6 * (double)figures->bytes);
        }
    }
    return lilac_session_print_table(session, LILAC_OK, table);
}

static void print_growth(const lilac_encoder_sweep *sweep) {
    putchar('\n');
    for (size_t kind = 0; kind < LILAC_SWEEP_KINDS; kind++) {
        const double power = lilac_encoder_sweep_exponent(sweep, kind);
        if (!isnan(power)) {
            printf("Time of %s ~ N^%.2f for N >= %d\n", lilac_sweep_kind_names[kind], power,
                   LILAC_SWEEP_SHORTEST_FITTED);
        }
    }
    const int from = lilac_encoder_sweep_overtaking(sweep);
    if (from == 0) {
        puts("Linear faster beyond these lengths, if at all");
    } else {
        printf("Linear faster from N = %d\n", from);
    }
}

lilac_status lilac_encoder_tables_print(lilac_session *session, const lilac_encoder_sweep *sweep) {
    lilac_progress_bar_clear(&session->bar);
    printf("%s\n\n", sweep->title);
    LILAC_TRY(print_points(session, sweep));
    print_growth(sweep);
    lilac_session_print_peak(session, (lilac_peaks){.f32 = sweep->peak});
    return LILAC_OK;
}
