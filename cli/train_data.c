/* SPDX-License-Identifier: MIT */
#include "train_data.h"

#include "core/memory.h"
#include "runtime/file.h"

/* The share of a file's bytes, at its end, that training does not see. */
enum { HELD_OUT_PART = 20 };

lilac_status lilac_train_data_load(lilac_session *session, const lilac_train_settings *settings,
                                   lilac_train_data *out) {
    lilac_train_data data = {0};
    if (settings->bytes != NULL) {
        LILAC_TRY(lilac_file_read(session->context, settings->bytes, UINT32_MAX, &data.bytes, &data.byte_count));
    } else {
        session->common.training.validation = settings->validation;
        LILAC_TRY(lilac_training_data_load(session, (lilac_variant)settings->variant, &data.images));
        const lilac_dataset_shape shape = lilac_dataset_get_shape(data.images.training_images);
        data.pixels = shape.rows * shape.cols;
        data.columns = shape.cols;
    }
    *out = data;
    return LILAC_OK;
}

void lilac_train_data_free(lilac_train_data *data) {
    lilac_memory_free(data->bytes);
    lilac_training_data_free(&data->images);
}

static lilac_status split_bytes(lilac_session *session, const lilac_train_settings *settings, size_t length,
                                lilac_train_data *data) {
    data->has_validation = settings->validation > 0;
    /* At least one window, and no more than are asked for. */
    const size_t held_out = data->has_validation ? lilac_size_max(data->byte_count / HELD_OUT_PART, length + 1) : 0;
    if (data->byte_count < held_out + length + 1) {
        return lilac_session_usage_error(session,
                                         "--bytes: %s has %zu bytes, expected at least %zu for windows of %zu tokens",
                                         settings->bytes, data->byte_count, held_out + length + 1, length);
    }
    const size_t seen = data->byte_count - held_out;
    data->training = (lilac_token_source){.bytes = data->bytes, .byte_count = seen};
    data->validation = (lilac_token_source){
        .bytes = data->bytes + seen, .byte_count = lilac_size_min(held_out, (size_t)settings->validation * length + 1)};
    data->sequences = (seen - 1 + length - 1) / length;
    return LILAC_OK;
}

lilac_status lilac_train_data_split(lilac_session *session, const lilac_train_settings *settings, size_t length,
                                    lilac_train_data *data) {
    if (data->bytes != NULL) {
        return split_bytes(session, settings, length, data);
    }
    data->has_validation = data->images.validation.count > 0;
    data->training = (lilac_token_source){.images = &data->images.training};
    data->validation = (lilac_token_source){.images = &data->images.validation};
    data->sequences = data->images.training.count;
    return LILAC_OK;
}
