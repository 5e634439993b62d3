/* SPDX-License-Identifier: MIT */
/* Results files to compare with: a change has a label and two values that differ. */
#include "fuzz.h"

#include "report/changes.h"

#include <math.h>
#include <string.h>

/* Some of what a results file holds. */
static const char present[] =
    "{\"experiment\":\"all\",\"program\":\"lilac\",\"quick\":false,"
    "\"lora\":{\"widths\":[{\"hidden\":64,\"base\":{\"test\":{\"mean\":92.5,\"spread\":null}},"
    "\"fine_tuning\":[{\"rank\":1,\"mean\":90.25},{\"rank\":2,\"mean\":91.5}]}]},"
    "\"attention\":{\"rows\":[{\"kind\":\"linear\",\"tokens\":128,\"seconds\":0.5}]},"
    "\"numbers\":[1,2.5,-3e9]}";

static void visit(void *user, const lilac_change *change) {
    size_t *count = user;
    ++*count;
    fuzz_require(change->label != NULL && strlen(change->label) < 256, "a change has a short label");
    if (change->was != NULL) {
        fuzz_require(change->is != NULL && strcmp(change->was, change->is) != 0, "two texts differ");
    } else {
        fuzz_require(change->is == NULL && isfinite(change->before) && isfinite(change->after) &&
                         change->before != change->after,
                     "two numbers differ");
    }
}

static void check_changes(const cJSON *old, const cJSON *results) {
    size_t visited = 0;
    fuzz_require(lilac_changes_visit(old, results, visit, &visited).changed == visited, "each change is visited");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cJSON *read;
    if (!fuzz_succeeded(lilac_results_read(fuzz_context(), fuzz_input_file(data, size), &read))) {
        return 0;
    }
    cJSON *results = cJSON_Parse(present);
    fuzz_require(results != NULL, "there is memory");
    check_changes(read, results);
    check_changes(results, read);
    check_changes(read, read);
    cJSON_Delete(results);
    cJSON_Delete(read);
    return 0;
}
