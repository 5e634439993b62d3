/* SPDX-License-Identifier: MIT */
#include "train_run.h"

#include "evaluation.h"
#include "files.h"
#include "train_data.h"

#include "bench/peak.h"
#include "core/memory.h"
#include "model/transformer_pass.h"
#include "runtime/context.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <unistd.h>

/* What the reports need to know. */
typedef struct train_reports {
    lilac_session *session;
    const lilac_train_settings *settings;
    double peak;       /* operations a second; 0: not known */
    int metrics;       /* the file's descriptor; -1: none */
    bool metrics_made; /* by this run */
    bool fallback_told;
} train_reports;

/* A line of the metrics. Its fields, at most 11 of fewer than 40 characters, fit. */
typedef struct metrics_line {
    char text[640];
    size_t length;
} metrics_line;

static double bits(double nats) {
    return nats / log(2.0);
}

static void add_text(metrics_line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add_text(metrics_line *line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(line->text + line->length, sizeof line->text - line->length, format, arguments);
    va_end(arguments);
    line->length += (size_t)length;
}

static void add_field(metrics_line *line, const char *name, double value) {
    /* JSON has no NaN. */
    if (isfinite(value)) {
        add_text(line, ", \"%s\": %.7g", name, value);
    }
}

/* Appends the line whole or not at all: a training that goes on must not continue half a line. */
static lilac_status append_line(const train_reports *reports, const metrics_line *line) {
    const off_t end = lseek(reports->metrics, 0, SEEK_END);
    for (size_t done = 0; done < line->length;) {
        const ssize_t written = write(reports->metrics, line->text + done, line->length - done);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            const int number = written < 0 ? errno : ENOSPC;
            const bool cut = end >= 0 && ftruncate(reports->metrics, end) == 0;
            return lilac_fail(reports->session->context, LILAC_ERROR_IO, "%s: cannot write: %s%s",
                              reports->settings->metrics, strerror(number),
                              cut || done == 0 ? "" : "; its last line is not whole");
        }
        done += (size_t)written;
    }
    return LILAC_OK;
}

static lilac_status write_metrics(const train_reports *reports, const lilac_transformer_metrics *metrics) {
    metrics_line line = {.length = 0};
    add_text(&line, "{\"step\": %llu, \"tokens\": %llu", (unsigned long long)metrics->step,
             (unsigned long long)metrics->tokens);
    add_field(&line, "seconds", metrics->seconds);
    add_field(&line, "loss", metrics->loss);
    add_field(&line, "bits", bits(metrics->loss));
    add_field(&line, "learning_rate", metrics->learning_rate);
    add_field(&line, "gradient_norm", metrics->gradient_norm);
    add_field(&line, "tokens_per_second", metrics->tokens_per_second);
    if (reports->peak > 0.0) {
        add_field(&line, "share_of_peak", metrics->operations_per_second / reports->peak);
    }
    add_field(&line, "validation_loss", metrics->validation);
    add_field(&line, "validation_bits", bits(metrics->validation));
    add_text(&line, "}\n");
    return append_line(reports, &line);
}

/* "12.3k tokens/s, 61% of peak" */
static void speed_text(const train_reports *reports, const lilac_transformer_metrics *metrics, char *text,
                       size_t size) {
    const double rate = metrics->tokens_per_second;
    const int used =
        snprintf(text, size, rate < 10000 ? "%.0f tokens/s" : "%.1fk tokens/s", rate < 10000 ? rate : rate * 1e-3);
    if (reports->peak > 0.0 && used > 0 && (size_t)used < size) {
        snprintf(text + used, size - (size_t)used, ", %.0f%% of peak",
                 100 * metrics->operations_per_second / reports->peak);
    }
}

static lilac_status on_report(void *user, const lilac_transformer_metrics *metrics) {
    train_reports *reports = user;
    lilac_session *session = reports->session;
    if (metrics->precision != (lilac_precision)reports->settings->precision && !reports->fallback_told) {
        lilac_session_note(session, "This processor cannot multiply %s matrices: f32 is used.",
                           lilac_precision_name((lilac_precision)reports->settings->precision));
        reports->fallback_told = true;
    }
    char speed[48];
    speed_text(reports, metrics, speed, sizeof speed);
    snprintf(session->bar.detail, sizeof session->bar.detail, "%.3f bits, %s", bits(metrics->loss), speed);
    if (isfinite(metrics->validation)) {
        lilac_session_note(session, "Step %llu: training %.4f, validation %.4f bits a %s; %s.",
                           (unsigned long long)metrics->step, bits(metrics->loss), bits(metrics->validation),
                           lilac_bits_unit(reports->settings->bytes != NULL), speed);
    }
    return reports->metrics >= 0 ? write_metrics(reports, metrics) : LILAC_OK;
}

/* The logistics of a new output layer that is a mixture. */
static size_t mixtures_of(const lilac_train_settings *settings) {
    lilac_transformer_config usual;
    lilac_transformer_config_default(&usual);
    return settings->mixtures > 0 ? (size_t)settings->mixtures : usual.mixtures;
}

/* --mixtures where no mixture is made. */
static lilac_status check_mixtures(lilac_session *session, const lilac_train_settings *settings, bool made) {
    if (settings->mixtures == 0 || made) {
        return LILAC_OK;
    }
    return lilac_session_usage_error(
        session, "--mixtures does nothing: the output layer %s; --distribution logistic-mixture makes a mixture",
        settings->from != NULL ? "stays that of --from" : "is categorical");
}

static lilac_transformer_output output_of(const lilac_train_settings *settings, lilac_transformer_output usual) {
    return settings->distribution > 0 ? (lilac_transformer_output)(settings->distribution - 1) : usual;
}

/* The model that training goes on with, with a new output layer where another one is asked for. */
static lilac_status load_model(lilac_session *session, const lilac_train_settings *settings, const char *file,
                               lilac_transformer **out) {
    lilac_transformer *loaded = NULL;
    LILAC_TRY(lilac_transformer_load(session->context, file, &loaded));
    const lilac_transformer_config *config = lilac_transformer_get_config(loaded);
    const lilac_transformer_output output = output_of(settings, config->output);
    const bool changes = output != config->output;
    lilac_status status = check_mixtures(session, settings, changes && output == LILAC_TRANSFORMER_LOGISTIC_MIXTURE);
    if (status == LILAC_OK && !changes) {
        *out = loaded;
        return LILAC_OK;
    }
    if (status == LILAC_OK) {
        status = lilac_transformer_with_output(session->context, loaded, output, mixtures_of(settings), out);
    }
    lilac_transformer_destroy(loaded);
    return status;
}

static lilac_status create_model(lilac_session *session, const lilac_train_settings *settings,
                                 const lilac_train_data *data, lilac_transformer **out) {
    const char *file = settings->base != NULL ? settings->base : settings->from;
    if (file != NULL) {
        return load_model(session, settings, file, out);
    }
    const bool bytes = settings->bytes != NULL;
    const size_t usual_length = bytes ? 256 : data->pixels - 1;
    const lilac_transformer_output output =
        output_of(settings, bytes ? LILAC_TRANSFORMER_CATEGORICAL : LILAC_TRANSFORMER_LOGISTIC_MIXTURE);
    LILAC_TRY(check_mixtures(session, settings, output == LILAC_TRANSFORMER_LOGISTIC_MIXTURE));
    const lilac_transformer_config config = {.length = settings->length > 0 ? (size_t)settings->length : usual_length,
                                             .layers = (size_t)settings->layers,
                                             .heads = (size_t)settings->heads,
                                             .head_size = (size_t)settings->head_size,
                                             .feed_forward = (size_t)settings->feed_forward,
                                             .value_width = (size_t)settings->value_width,
                                             .position_width = (size_t)settings->position_width,
                                             .attention = (lilac_transformer_attention)settings->attention,
                                             .features = (lilac_transformer_features)settings->features,
                                             .feature_size = (size_t)settings->feature_size,
                                             .norm = (lilac_transformer_norm)settings->norm,
                                             .activation = (lilac_transformer_activation)settings->activation,
                                             .output = output,
                                             .mixtures = mixtures_of(settings),
                                             .dropout = settings->dropout,
                                             .seed = session->common.seed};
    LILAC_TRY(lilac_transformer_create(session->context, &config, out));
    return settings->start == 0 ? LILAC_OK
                                : lilac_transformer_start_with_neighbours(session->context, *out, data->columns);
}

/* Leaves *out NULL where the model itself is to be trained. */
static lilac_status create_adapter(lilac_session *session, const lilac_train_settings *settings,
                                   const lilac_transformer *model, lilac_adapter **out) {
    if (settings->base == NULL) {
        return LILAC_OK;
    }
    const lilac_lora_config config = lilac_session_lora_config(session);
    return lilac_transformer_adapter_create(session->context, model, settings->layers_matching, &config, out);
}

static lilac_transformer_training training_config(const lilac_session *session, const lilac_train_settings *settings,
                                                  const lilac_train_data *data, train_reports *reports) {
    const double epoch = (double)data->sequences / (double)settings->batch;
    const double steps = settings->steps > 0 ? settings->steps : fmax(1.0, ceil(settings->epochs * epoch));
    return (lilac_transformer_training){.optimiser = (lilac_training_optimiser)settings->optimiser,
                                        .learning_rate = settings->learning_rate,
                                        .final_fraction = settings->final_fraction,
                                        .output_rate = settings->output_rate,
                                        .warm_up = (uint64_t)settings->warm_up,
                                        .steps = (uint64_t)fmin(steps, UINT32_MAX),
                                        .batch = (size_t)settings->batch,
                                        .micro_batch = (size_t)settings->micro_batch,
                                        .border = (size_t)settings->border,
                                        .clip_norm = settings->clip,
                                        .clip_outputs = settings->clip_outputs,
                                        .weight_decay = settings->weight_decay,
                                        .beta1 = settings->beta1,
                                        .beta2 = settings->beta2,
                                        .epsilon = settings->epsilon,
                                        .precision = (lilac_precision)settings->precision,
                                        .seed = session->common.seed,
                                        .validation_interval = (uint64_t)settings->validation_interval,
                                        .report_interval = (uint64_t)settings->report_interval,
                                        .report = on_report,
                                        .report_user = reports,
                                        .checkpoint = settings->checkpoint,
                                        .checkpoint_interval = (uint64_t)settings->checkpoint_interval,
                                        .resume = settings->resume,
                                        .seconds = 60 * settings->minutes};
}

static void measure_peak(lilac_session *session, const lilac_train_settings *settings, train_reports *reports) {
    if (!settings->no_peak) {
        const lilac_precision precision = (lilac_precision)settings->precision;
        lilac_peak_rate peak = {0.0, 0.0};
        /* Where bf16 or f16 products cannot be had, training takes f32. */
        if (lilac_transformer_check_precision(session->context, precision) == LILAC_OK) {
            peak = precision == LILAC_PRECISION_BF16  ? lilac_bench_peak_bf16(session->context)
                   : precision == LILAC_PRECISION_F16 ? lilac_bench_peak_f16(session->context)
                                                      : peak;
        }
        if (peak.all <= 0.0) {
            peak = lilac_bench_peak_f32(session->context);
        }
        reports->peak = peak.all * 1e9;
    }
}

/* "93.4 MB" */
static const char *bytes_text(double bytes, char text[32]) {
    const bool small = bytes < 1e6, large = bytes >= 1e9;
    snprintf(text, 32, "%.1f %s", bytes / (small ? 1e3 : large ? 1e9 : 1e6), small ? "kB" : large ? "GB" : "MB");
    return text;
}

static lilac_status note_memory(lilac_session *session, const lilac_transformer_training *config,
                                const lilac_train_data *data, const lilac_transformer *model,
                                const lilac_adapter *adapter) {
    lilac_training_memory memory;
    char activations[32], optimiser[32], gradient[32], weights[32];
    LILAC_TRY(lilac_transformer_training_memory(session->context, config, model, adapter, &data->training, &memory));
    const size_t count =
        lilac_transformer_parameter_count(model) + (adapter != NULL ? lilac_adapter_parameter_count(adapter) : 0);
    const size_t together = lilac_size_min(config->batch, config->micro_batch);
    lilac_session_note(session, "Memory: activations of %zu sequence%s %s, optimiser %s, gradient %s, weights %s.",
                       together, together == 1 ? "" : "s", bytes_text((double)memory.activations, activations),
                       bytes_text((double)memory.optimiser, optimiser), bytes_text((double)memory.gradient, gradient),
                       bytes_text((double)count * sizeof(float), weights));
    return LILAC_OK;
}

static void print_outcome(lilac_session *session, const lilac_train_settings *settings, uint64_t steps,
                          const lilac_transformer_outcome *outcome) {
    const lilac_transformer_metrics *metrics = &outcome->metrics;
    char duration[32];
    lilac_duration_text(metrics->seconds, duration, sizeof duration);
    lilac_progress_bar_clear(&session->bar);
    printf("Step %llu of %llu after %s", (unsigned long long)metrics->step, (unsigned long long)steps, duration);
    if (isfinite(metrics->loss)) {
        printf("; training %.4f bits a %s", bits(metrics->loss), lilac_bits_unit(settings->bytes != NULL));
    }
    if (isfinite(metrics->validation)) {
        printf("; validation %.4f", bits(metrics->validation));
    }
    putchar('\n');
    if (!outcome->finished && settings->checkpoint != NULL) {
        printf("Not finished: the same command with --resume goes on from %s\n", settings->checkpoint);
    } else if (!outcome->finished) {
        printf("Not finished, and without --checkpoint it cannot go on where it stopped\n");
    }
}

static lilac_status save_output(lilac_session *session, const lilac_train_settings *settings,
                                const lilac_transformer *model, const lilac_adapter *adapter) {
    const size_t weights = lilac_transformer_parameter_count(model);
    if (adapter != NULL) {
        LILAC_TRY(lilac_adapter_save(session->context, adapter, settings->output));
        lilac_progress_bar_clear(&session->bar);
        printf("Saved %s: %zu weights beside the base's %zu\n", settings->output,
               lilac_adapter_parameter_count(adapter), weights);
        return LILAC_OK;
    }
    LILAC_TRY(lilac_transformer_save(session->context, model, (lilac_precision)settings->store, settings->output));
    lilac_progress_bar_clear(&session->bar);
    printf("Saved %s: %zu weights\n", settings->output, weights);
    return LILAC_OK;
}

static lilac_status train(lilac_session *session, const lilac_train_settings *settings,
                          const lilac_transformer_training *config, const lilac_train_data *data,
                          lilac_transformer *model, lilac_adapter *adapter, train_reports *reports) {
    measure_peak(session, settings, reports);
    lilac_transformer_outcome outcome;
    const lilac_status status = lilac_train_transformer(session->context, config, model, adapter, &data->training,
                                                        data->has_validation ? &data->validation : NULL, &outcome);
    if (status == LILAC_CANCELLED && settings->checkpoint != NULL) {
        lilac_session_note(session, "Saved the checkpoint %s: the same command with --resume goes on from it.",
                           settings->checkpoint);
        /* The model is as the last whole step left it. Without a checkpoint an interrupt gives the training up. */
        LILAC_TRY(save_output(session, settings, model, adapter));
    }
    LILAC_TRY(status);
    print_outcome(session, settings, config->steps, &outcome);
    return save_output(session, settings, model, adapter);
}

static lilac_status open_metrics(train_reports *reports) {
    const char *path = reports->settings->metrics;
    if (path == NULL) {
        return LILAC_OK;
    }
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    reports->metrics = open(path, flags | O_EXCL, 0666);
    reports->metrics_made = reports->metrics >= 0;
    if (!reports->metrics_made) {
        reports->metrics = open(path, flags, 0666);
    }
    return reports->metrics >= 0
               ? LILAC_OK
               : lilac_fail(reports->session->context, LILAC_ERROR_IO, "%s: cannot open: %s", path, strerror(errno));
}

/* What was refused, or stopped before its first report, leaves no empty file. */
static void close_metrics(const train_reports *reports) {
    if (reports->metrics < 0) {
        return;
    }
    if (reports->metrics_made && lseek(reports->metrics, 0, SEEK_END) == 0) {
        unlink(reports->settings->metrics);
    }
    close(reports->metrics);
}

static lilac_status load_and_train(lilac_session *session, const lilac_train_settings *settings,
                                   train_reports *reports) {
    lilac_train_data data;
    LILAC_TRY(lilac_train_data_load(session, settings, &data));
    lilac_transformer *model = NULL;
    lilac_adapter *adapter = NULL;
    lilac_status status = create_model(session, settings, &data, &model);
    if (status == LILAC_OK) {
        status = lilac_train_data_split(session, settings, lilac_transformer_get_config(model)->length, &data);
    }
    if (status == LILAC_OK) {
        status = create_adapter(session, settings, model, &adapter);
    }
    const lilac_transformer_training config = training_config(session, settings, &data, reports);
    if (status == LILAC_OK) {
        status = note_memory(session, &config, &data, model, adapter);
    }
    if (status == LILAC_OK) {
        status = open_metrics(reports);
    }
    if (status == LILAC_OK) {
        status = train(session, settings, &config, &data, model, adapter, reports);
    }
    lilac_adapter_destroy(adapter);
    lilac_transformer_destroy(model);
    lilac_train_data_free(&data);
    return status;
}

/* What is written must not be what is read, nor each other. */
static lilac_status check_names(lilac_session *session, const lilac_train_settings *settings) {
    const char *outputs[] = {settings->output, settings->checkpoint, settings->metrics};
    static const char *const names[] = {"output", "checkpoint", "metrics"};
    for (size_t i = 0; i < LILAC_COUNT(outputs); i++) {
        if (outputs[i] == NULL) {
            continue;
        }
        LILAC_TRY(lilac_session_check_keeps(session, outputs[i], settings->from));
        LILAC_TRY(lilac_session_check_keeps(session, outputs[i], settings->base));
        LILAC_TRY(lilac_session_check_keeps(session, outputs[i], settings->bytes));
        for (size_t j = 0; j < i; j++) {
            if (outputs[j] != NULL && lilac_session_same_file(outputs[i], outputs[j])) {
                return lilac_session_usage_error(session, "--%s: expected another file than --%s %s, got %s", names[i],
                                                 names[j], outputs[j], outputs[i]);
            }
        }
    }
    return LILAC_OK;
}

static lilac_status check_files(lilac_session *session, const lilac_train_settings *settings) {
    LILAC_TRY(lilac_session_check_output(session, settings->output));
    LILAC_TRY(check_names(session, settings));
    if (settings->checkpoint == NULL) {
        return LILAC_OK;
    }
    LILAC_TRY(lilac_session_check_output(session, settings->checkpoint));
    if (!settings->resume && access(settings->checkpoint, F_OK) == 0) {
        return lilac_session_usage_error(session,
                                         "--checkpoint: %s exists; --resume goes on from it, to begin anew remove it",
                                         settings->checkpoint);
    }
    return LILAC_OK;
}

lilac_status lilac_train_run(lilac_session *session, const void *values) {
    const lilac_train_settings *settings = values;
    LILAC_TRY(check_files(session, settings));
    train_reports reports = {.session = session, .settings = settings, .metrics = -1};
    const lilac_status status = load_and_train(session, settings, &reports);
    close_metrics(&reports);
    return status;
}
