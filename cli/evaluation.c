/* SPDX-License-Identifier: MIT */
#include "evaluation.h"

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

lilac_table *lilac_evaluation_table(int choice, const char *first) {
    lilac_table *table = lilac_table_create(choice == ALL ? "lrrrr" : "lr");
    lilac_table_cell(table, "%s", first);
    for (int variant = first_variant(choice); variant < end_variant(choice); variant++) {
        lilac_table_cell(table, "%s", lilac_variant_name((lilac_variant)variant));
    }
    return table;
}

lilac_status lilac_evaluation_row(lilac_session *session, lilac_table *table, int choice, const char *name,
                                  const lilac_dataset *test_images, const lilac_mlp *mlp,
                                  const lilac_adapter *adapter) {
    lilac_table_cell(table, "%s", name);
    for (int variant = first_variant(choice); variant < end_variant(choice); variant++) {
        const lilac_data_view view = lilac_data_view_all(test_images, (lilac_variant)variant);
        lilac_evaluation evaluation;
        LILAC_TRY(lilac_evaluate_mlp(session->context, mlp, adapter, &view, &evaluation));
        lilac_table_cell(table, "%.2f %%", 100 * evaluation.accuracy);
    }
    return LILAC_OK;
}
