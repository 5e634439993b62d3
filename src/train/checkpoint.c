/* SPDX-License-Identifier: MIT */
#include "train/checkpoint.h"

#include "format/number_text.h"
#include "format/safetensors.h"
#include "runtime/file.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char format_name[] = "lilac.checkpoint";
static const char format_version[] = "1";
static const char *const tensor_names[] = {"parameters", "moment1", "moment2"};
enum { TENSORS = sizeof tensor_names / sizeof *tensor_names };

void lilac_settings_add(lilac_settings *settings, const char *name, const char *value) {
    assert(settings->count < LILAC_SETTINGS_MAX);
    lilac_setting *setting = &settings->item[settings->count++];
    setting->name = name;
    snprintf(setting->value, sizeof setting->value, "%s", value);
}

void lilac_settings_add_whole(lilac_settings *settings, const char *name, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    lilac_settings_add(settings, name, text);
}

void lilac_settings_add_number(lilac_settings *settings, const char *name, double value) {
    char text[LILAC_NUMBER_TEXT_SIZE];
    lilac_number_text(value, text);
    lilac_settings_add(settings, name, text);
}

static lilac_status add_all(lilac_context *context, const lilac_checkpoint *checkpoint, const lilac_settings *settings,
                            lilac_safetensors_writer *writer) {
    char step[24], seconds[LILAC_NUMBER_TEXT_SIZE];
    snprintf(step, sizeof step, "%" PRIu64, checkpoint->step);
    lilac_number_text(checkpoint->seconds, seconds);
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "format", format_name));
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "format_version", format_version));
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "steps made", step));
    LILAC_TRY(lilac_safetensors_writer_add_metadata(context, writer, "seconds", seconds));
    for (size_t i = 0; i < settings->count; i++) {
        LILAC_TRY(
            lilac_safetensors_writer_add_metadata(context, writer, settings->item[i].name, settings->item[i].value));
    }
    const float *const data[TENSORS] = {checkpoint->parameters, checkpoint->moment1, checkpoint->moment2};
    for (int i = 0; i < TENSORS; i++) {
        LILAC_TRY(lilac_safetensors_writer_add(context, writer, tensor_names[i], LILAC_SAFETENSORS_F32, 1,
                                               &checkpoint->count, data[i]));
    }
    return LILAC_OK;
}

lilac_status lilac_checkpoint_check(lilac_context *context, size_t count, const char *path) {
    enum { HEADER = 1 << 16 /* more than a header takes */ };
    const size_t most = (LILAC_SAFETENSORS_MAX_FILE - HEADER) / (TENSORS * sizeof(float));
    if (count > most) {
        return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s: a checkpoint of %zu weights, at most %zu fit one file",
                          path, count, most);
    }
    return lilac_file_check_writable(context, path);
}

lilac_status lilac_checkpoint_write(lilac_context *context, const lilac_checkpoint *checkpoint,
                                    const lilac_settings *settings, const char *path) {
    lilac_safetensors_writer *writer = NULL;
    LILAC_TRY(lilac_safetensors_writer_create(context, &writer));
    lilac_status status = add_all(context, checkpoint, settings, writer);
    if (status == LILAC_OK) {
        status = lilac_safetensors_writer_write(context, writer, path);
    }
    lilac_safetensors_writer_destroy(writer);
    return status;
}

/* A value for a message: of a number that is not whole, the digits that matter. */
static void value_text(const char *stored, char *text, size_t size) {
    uint64_t whole;
    double number;
    if (stored == NULL) {
        snprintf(text, size, "nothing");
    } else if (!lilac_number_parse_whole(stored, &whole) && lilac_number_parse(stored, &number)) {
        snprintf(text, size, "%.10g", number);
    } else {
        snprintf(text, size, "%s", stored);
    }
}

static lilac_status check_settings(lilac_context *context, const char *path, const lilac_safetensors_file *file,
                                   const lilac_settings *settings) {
    for (size_t i = 0; i < settings->count; i++) {
        const lilac_setting *setting = &settings->item[i];
        const char *stored = lilac_safetensors_metadata(file, setting->name);
        if (stored == NULL || strcmp(stored, setting->value) != 0) {
            char there[sizeof setting->value], here[sizeof setting->value];
            value_text(stored, there, sizeof there);
            value_text(setting->value, here, sizeof here);
            return lilac_fail(context, LILAC_ERROR_ARGUMENT, "%s is of a training with another %s: %s, here it is %s",
                              path, setting->name, there, here);
        }
    }
    return LILAC_OK;
}

static lilac_status check_tensor(lilac_context *context, const char *path, const lilac_safetensors_file *file,
                                 const char *name, size_t count) {
    const lilac_safetensors_tensor *tensor = lilac_safetensors_find(file, name);
    if (tensor == NULL || tensor->dtype != LILAC_SAFETENSORS_F32) {
        return lilac_fail(context, LILAC_ERROR_FORMAT, "%s: tensor \"%s\" is %s", path, name,
                          tensor == NULL ? "missing" : "not F32");
    }
    if (tensor->rank != 1 || tensor->count != count) {
        return lilac_fail(context, LILAC_ERROR_SHAPE, "%s: tensor \"%s\" holds %zu numbers, expected a row of %zu",
                          path, name, tensor->count, count);
    }
    return LILAC_OK;
}

static lilac_status read_all(lilac_context *context, const char *path, const lilac_safetensors_file *file,
                             const lilac_settings *settings, uint64_t most_steps, lilac_checkpoint *checkpoint) {
    LILAC_TRY(lilac_safetensors_check_kind(context, file, "a checkpoint file", format_name, format_version));
    LILAC_TRY(check_settings(context, path, file, settings));
    const char *step_text = lilac_safetensors_metadata(file, "steps made");
    const char *seconds_text = lilac_safetensors_metadata(file, "seconds");
    uint64_t step;
    double seconds;
    if (step_text == NULL || !lilac_number_parse_whole(step_text, &step) || step > most_steps || seconds_text == NULL ||
        !lilac_number_parse(seconds_text, &seconds) || seconds < 0) {
        return lilac_fail(context, LILAC_ERROR_FORMAT,
                          "%s: the metadata \"steps made\" or \"seconds\" is no number that could be", path);
    }
    for (int i = 0; i < TENSORS; i++) {
        LILAC_TRY(check_tensor(context, path, file, tensor_names[i], checkpoint->count));
    }
    float *const data[TENSORS] = {checkpoint->parameters, checkpoint->moment1, checkpoint->moment2};
    for (int i = 0; i < TENSORS; i++) {
        LILAC_TRY(lilac_safetensors_read_f32(context, file, tensor_names[i], 1, &checkpoint->count, data[i]));
    }
    checkpoint->step = step;
    checkpoint->seconds = seconds;
    return LILAC_OK;
}

lilac_status lilac_checkpoint_read(lilac_context *context, const char *path, const lilac_settings *settings,
                                   uint64_t most_steps, lilac_checkpoint *checkpoint) {
    lilac_safetensors_file *file;
    LILAC_TRY(lilac_safetensors_open(context, path, &file));
    const lilac_status status = read_all(context, path, file, settings, most_steps, checkpoint);
    lilac_safetensors_close(file);
    return status;
}
