/* SPDX-License-Identifier: MIT */
#include "report/json.h"

#include "runtime/file.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

lilac_json lilac_json_begin(void) {
    cJSON *root = cJSON_CreateObject();
    return (lilac_json){.root = root, .failed = root == NULL};
}

lilac_json lilac_json_begin_results(const lilac_context *context, const char *experiment) {
    lilac_json json = lilac_json_begin();
    lilac_json_string(&json, json.root, "experiment", experiment);
    lilac_json_string(&json, json.root, "program", "lilac " LILAC_VERSION);
    lilac_json_string(&json, json.root, "cpu_level", lilac_cpu_level_name(lilac_context_cpu_level(context)));
    return json;
}

void lilac_json_end(lilac_json *json) {
    cJSON_Delete(json->root);
    *json = (lilac_json){0};
}

static cJSON *add(lilac_json *json, cJSON *parent, const char *name, cJSON *item) {
    const cJSON_bool added =
        name != NULL ? cJSON_AddItemToObject(parent, name, item) : cJSON_AddItemToArray(parent, item);
    if (!added) {
        cJSON_Delete(item);
        json->failed = true;
        return NULL;
    }
    return item;
}

cJSON *lilac_json_object(lilac_json *json, cJSON *parent, const char *name) {
    return add(json, parent, name, cJSON_CreateObject());
}

cJSON *lilac_json_array(lilac_json *json, cJSON *parent, const char *name) {
    return add(json, parent, name, cJSON_CreateArray());
}

void lilac_json_number(lilac_json *json, cJSON *parent, const char *name, double value) {
    add(json, parent, name, isfinite(value) ? cJSON_CreateNumber(nearbyint(value * 1e6) / 1e6) : cJSON_CreateNull());
}

void lilac_json_whole(lilac_json *json, cJSON *parent, const char *name, uint64_t value) {
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    add(json, parent, name, cJSON_CreateRaw(digits));
}

void lilac_json_string(lilac_json *json, cJSON *parent, const char *name, const char *value) {
    add(json, parent, name, cJSON_CreateString(value));
}

static const cJSON *find(const cJSON *item, const char *format, va_list arguments) {
    char path[LILAC_JSON_PATH_MAX];
    if (vsnprintf(path, sizeof path, format, arguments) >= (int)sizeof path) {
        return NULL;
    }
    char *rest = NULL;
    for (char *name = strtok_r(path, "/", &rest); name != NULL && item != NULL; name = strtok_r(NULL, "/", &rest)) {
        if (cJSON_IsArray(item)) {
            item = name[0] >= '0' && name[0] <= '9' ? cJSON_GetArrayItem(item, atoi(name)) : NULL;
        } else {
            item = cJSON_GetObjectItemCaseSensitive(item, name);
        }
    }
    return item;
}

const cJSON *lilac_json_at(const cJSON *item, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const cJSON *found = find(item, format, arguments);
    va_end(arguments);
    return found;
}

/* A whole number that was added digit for digit is a piece of raw text until the file is read again. */
static double number_of(const cJSON *item) {
    return cJSON_IsNumber(item) ? item->valuedouble : cJSON_IsRaw(item) ? strtod(item->valuestring, NULL) : NAN;
}

double lilac_json_number_at(const cJSON *item, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const cJSON *found = find(item, format, arguments);
    va_end(arguments);
    return number_of(found);
}

const char *lilac_json_string_at(const cJSON *item, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const cJSON *found = find(item, format, arguments);
    va_end(arguments);
    return cJSON_IsString(found) ? found->valuestring : "";
}

lilac_status lilac_json_write(lilac_context *context, const lilac_json *json, const char *path) {
    char *text = json->failed ? NULL : cJSON_Print(json->root);
    if (text == NULL) {
        return lilac_fail(context, LILAC_ERROR_MEMORY, "out of memory for the content of %s", path);
    }
    /* A text file ends with a line break; it takes the place of the byte that ends the string. */
    const size_t length = strlen(text);
    text[length] = '\n';
    const lilac_status status = lilac_file_write(context, path, text, length + 1);
    cJSON_free(text);
    return status;
}
