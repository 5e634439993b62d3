/* SPDX-License-Identifier: MIT */
/* JSON headers: whatever the check accepts, the parser reads, and what it prints of that is accepted. */
#include "fuzz.h"

#include "format/json_check.h"
#include "format/safetensors.h"

#include <string.h>

#include <cjson/cJSON.h>

static lilac_json_verdict check(const char *text, size_t size, lilac_json_problem *problem) {
    const lilac_json_limits limits = {.depth = LILAC_SAFETENSORS_MAX_DEPTH, .values = 1000};
    return lilac_json_check(text, size, limits, problem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    lilac_json_problem problem;
    if (check(text, size, &problem) != LILAC_JSON_VALID) {
        fuzz_require(problem.what != NULL && problem.what[0] != '\0', "a refusal has a reason");
        fuzz_require(problem.offset <= size, "the problem lies in the text");
        fuzz_require(problem.entry == NULL || (problem.entry > text && problem.entry_length >= 0 &&
                                               problem.entry + problem.entry_length < text + size),
                     "the entry lies in the text");
        return 0;
    }
    cJSON *tree = cJSON_ParseWithLength(text, size);
    fuzz_require(tree != NULL, "what the check accepts can be parsed");
    char *printed = cJSON_PrintUnformatted(tree);
    fuzz_require(printed != NULL, "what was parsed can be printed");
    /* The parser prints numbers above 10^15 with an exponent; a file's are written without it. */
    fuzz_require(check(printed, strlen(printed), &problem) == LILAC_JSON_VALID || strstr(printed, "e+1") != NULL,
                 "what is printed is accepted");
    cJSON_free(printed);
    cJSON_Delete(tree);
    return 0;
}
