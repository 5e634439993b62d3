/* SPDX-License-Identifier: MIT */
#include "evaluation.h"

#include "core/memory.h"
#include "runtime/context.h"

enum { ALL = 0, ALL_COUNT = LILAC_VARIANT_INVERTED + 1 };

const char *const lilac_evaluation_choices[LILAC_VARIANT_COUNT + 2] = {
    [ALL] = "all",
    [1 + LILAC_VARIANT_ORIGINAL] = "mnist",
    [1 + LILAC_VARIANT_QUANTIZED] = "quantized",
    [1 + LILAC_VARIANT_ROTATED] = "rotated",
    [1 + LILAC_VARIANT_INVERTED] = "inverted",
    [1 + LILAC_VARIANT_PLAIN] = "plain",
};

static int first_variant(int choice) {
    return choice == ALL ? 0 : choice - 1;
}

static int end_variant(int choice) {
    return choice == ALL ? ALL_COUNT : choice;
}

lilac_table *lilac_evaluation_table(int choice, const lilac_model *model) {
    lilac_table *table = lilac_table_create(choice == ALL ? "lrrrr" : "lr");
    lilac_table_cell(table, model->transformer != NULL ? "bits a dimension on" : "accuracy on");
    for (int variant = first_variant(choice); variant < end_variant(choice); variant++) {
        lilac_table_cell(table, "%s", lilac_variant_name((lilac_variant)variant));
    }
    return table;
}

static lilac_status add_cell(lilac_session *session, lilac_table *table, const lilac_data_view *view,
                             const lilac_model *model, const lilac_adapter *adapter) {
    if (model->transformer != NULL) {
        const lilac_token_source source = {.images = view};
        lilac_token_evaluation evaluation;
        LILAC_TRY(lilac_evaluate_transformer(session->context, model->transformer, adapter, &source,
                                             LILAC_PRECISION_F32, &evaluation));
        lilac_table_cell(table, "%.4f", evaluation.bits);
    } else {
        lilac_evaluation evaluation;
        LILAC_TRY(lilac_evaluate_mlp(session->context, model->mlp, adapter, view, &evaluation));
        lilac_table_cell(table, "%.2f %%", 100 * evaluation.accuracy);
    }
    return LILAC_OK;
}

void lilac_evaluation_not_finite(lilac_session *session, const char *name) {
    lilac_fail(session->context, LILAC_ERROR_NOT_FINITE, "%s: its predictions are not finite numbers", name);
}

lilac_status lilac_evaluation_row(lilac_session *session, lilac_table *table, int choice, const char *name,
                                  const lilac_dataset *test_images, size_t count, const lilac_model *model,
                                  const lilac_adapter *adapter) {
    lilac_table_cell(table, "%s", name);
    for (int variant = first_variant(choice); variant < end_variant(choice); variant++) {
        lilac_data_view view = lilac_data_view_all(test_images, (lilac_variant)variant);
        if (count > 0) {
            view.count = lilac_size_min(view.count, count);
        }
        const lilac_status status = add_cell(session, table, &view, model, adapter);
        if (status == LILAC_ERROR_NOT_FINITE) {
            lilac_evaluation_not_finite(session, name);
        }
        LILAC_TRY(status);
    }
    return LILAC_OK;
}

const char *lilac_bits_unit(bool bytes) {
    return bytes ? "byte" : "dimension";
}
