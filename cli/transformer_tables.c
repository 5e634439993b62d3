/* SPDX-License-Identifier: MIT */
#include "transformer_tables.h"

#include "model/transformer.h"

#include <math.h>
#include <stdio.h>

/* The first cells of a row: attention, precision. */
static void begin_row(lilac_table *table, size_t kind, size_t precision) {
    lilac_table_cell(table, "%s", lilac_transformer_attention_names[kind]);
    lilac_table_cell(table, "%s", lilac_precision_name((lilac_precision)precision));
}

static lilac_status print_training(lilac_session *session, const lilac_transformer_sweep *sweep) {
    static const char *const head[] = {"attention", "products", "step ms", "forward", "loss",    "backward",
                                       "optimiser", "tokens/s", "GFLOP/s", "of peak", "speed-up"};
    const lilac_transformer_training *config = &sweep->config.training;
    const double tokens = (double)config->batch * (double)sweep->config.model.length;
    lilac_table *table = lilac_table_create_headed("llrrrrrrrrr", LILAC_COUNT(head), head);
    lilac_table_rule(table);
    for (size_t kind = 0; kind < LILAC_TRANSFORMER_KINDS; kind++) {
        for (size_t precision = 0; precision < LILAC_TRAINING_PRECISIONS; precision++) {
            const lilac_training_times *times = &sweep->training[kind][precision].times;
            begin_row(table, kind, precision);
            lilac_table_number(table, 1, "", 1e3 * times->steps);
            lilac_table_number(table, 1, "", 1e3 * times->forward);
            lilac_table_number(table, 1, "", 1e3 * times->loss);
            lilac_table_number(table, 1, "", 1e3 * times->backward);
            lilac_table_number(table, 1, "", 1e3 * times->optimiser);
            lilac_table_number(table, 0, "", tokens / times->steps);
            lilac_table_number(table, 1, "", lilac_transformer_sweep_training_rate(sweep, kind, precision));
            lilac_table_number(table, 0, " %", 100.0 * lilac_transformer_sweep_training_share(sweep, kind, precision));
            lilac_table_number(table, 2, "", lilac_transformer_sweep_gain(sweep, kind, precision));
        }
    }
    printf("A training step of %zu sequence%s, %zu at a time\n\n", config->batch, config->batch == 1 ? "" : "s",
           config->micro_batch);
    return lilac_session_print_table(session, LILAC_OK, table);
}

static lilac_status print_memory(lilac_session *session, const lilac_transformer_sweep *sweep) {
    static const char *const head[] = {"attention", "products",  "activations MB", "weights",
                                       "gradient",  "optimiser", "together"};
    lilac_table *table = lilac_table_create_headed("llrrrrr", LILAC_COUNT(head), head);
    lilac_table_rule(table);
    for (size_t kind = 0; kind < LILAC_TRANSFORMER_KINDS; kind++) {
        for (size_t precision = 0; precision < LILAC_TRAINING_PRECISIONS; precision++) {
            const lilac_bench_training_figures *figures = &sweep->training[kind][precision];
            const bool timed = !isnan(figures->times.steps);
            const size_t parts[] = {figures->memory.activations, figures->weight_bytes, figures->memory.gradient,
                                    figures->memory.optimiser};
            double sum = 0.0;
            begin_row(table, kind, precision);
            for (size_t i = 0; i < LILAC_COUNT(parts); i++) {
                sum += (double)parts[i];
                lilac_table_number(table, 1, "", timed ? 1e-6 * (double)parts[i] : (double)NAN);
            }
            lilac_table_number(table, 1, "", timed ? 1e-6 * sum : (double)NAN);
        }
    }
    puts("\nMemory of training\n");
    return lilac_session_print_table(session, LILAC_OK, table);
}

static void add_generation(lilac_table *table, const lilac_transformer_sweep *sweep, size_t kind, size_t precision,
                           size_t count) {
    const lilac_bench_generation_figures *figures = &sweep->generation[kind][precision][count];
    const double steps = (double)figures->steps;
    const double rate = lilac_transformer_sweep_generation_rate(sweep, kind, precision, count);
    begin_row(table, kind, precision);
    lilac_table_cell(table, "%zu", sweep->config.counts[count]);
    lilac_table_cell(table, "%zu", figures->batch);
    lilac_table_number(table, 3, "", 1e3 * figures->times.steps / steps);
    lilac_table_number(table, 3, "", 1e3 * figures->times.projections / steps);
    lilac_table_number(table, 3, "", 1e3 * figures->times.attention / steps);
    lilac_table_number(table, 0, "", (double)sweep->config.counts[count] * steps / figures->times.steps);
    lilac_table_number(table, 1, "", rate);
    lilac_table_number(table, 0, " %", 100.0 * rate / sweep->peak[LILAC_PRECISION_F32]);
    lilac_table_number(table, 1, "", 1e-6 * (double)figures->weight_bytes);
    lilac_table_number(table, 1, "", 1e-6 * (double)figures->state_bytes);
}

static lilac_status print_generation(lilac_session *session, const lilac_transformer_sweep *sweep) {
    static const char *const head[] = {"attention", "weights",  "sequences", "at a time", "step ms",    "projections",
                                       "attention", "tokens/s", "GFLOP/s",   "of peak",   "weights MB", "state MB"};
    lilac_table *table = lilac_table_create_headed("llrrrrrrrrrr", LILAC_COUNT(head), head);
    lilac_table_rule(table);
    for (size_t kind = 0; kind < LILAC_TRANSFORMER_KINDS; kind++) {
        for (size_t precision = 0; precision < LILAC_GENERATION_PRECISIONS; precision++) {
            for (size_t count = 0; count < sweep->config.count_count; count++) {
                add_generation(table, sweep, kind, precision, count);
            }
        }
    }
    const size_t N = sweep->config.model.length, half = (N + 1) / 2;
    const lilac_bench_generation_figures *any = &sweep->generation[0][0][0];
    printf("\nA step of generation: the mean of %zu of the %zu that complete %zu tokens, after prompts of %zu\n\n",
           any->steps, N - half, half, any->prompt);
    return lilac_session_print_table(session, LILAC_OK, table);
}

lilac_status lilac_transformer_tables_print(lilac_session *session, const lilac_transformer_sweep *sweep) {
    const lilac_transformer_config *model = &sweep->config.model;
    lilac_progress_bar_clear(&session->bar);
    printf("%zu layers, %zu heads x %zu, width %zu, feed-forward %zu, %zu tokens\n\n", model->layers, model->heads,
           model->head_size, lilac_transformer_width(model), model->feed_forward, model->length);
    LILAC_TRY(print_training(session, sweep));
    LILAC_TRY(print_memory(session, sweep));
    LILAC_TRY(print_generation(session, sweep));
    lilac_session_print_peak(session, (lilac_peaks){.f32 = sweep->peak[LILAC_PRECISION_F32],
                                                    .bf16 = sweep->peak[LILAC_PRECISION_BF16],
                                                    .f16 = sweep->peak[LILAC_PRECISION_F16]});
    return LILAC_OK;
}
