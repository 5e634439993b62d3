/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 2 }; /* spaces between columns */

struct lilac_table {
    size_t columns, count, capacity;
    char **cells;     /* count, row after row */
    bool *rule_after; /* one for each cell: a line follows it (only ever true of a row's last) */
    bool failed;
    char alignment[];
};

lilac_table *lilac_table_create(const char *alignment) {
    const size_t columns = strlen(alignment);
    lilac_table *table = calloc(1, sizeof *table + columns + 1);
    if (table != NULL) {
        table->columns = columns;
        memcpy(table->alignment, alignment, columns);
    }
    return table;
}

void lilac_table_destroy(lilac_table *table) {
    if (table == NULL) {
        return;
    }
    for (size_t i = 0; i < table->count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    free(table->rule_after);
    free(table);
}

static bool reserve(lilac_table *table) {
    if (table->count < table->capacity) {
        return true;
    }
    const size_t capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
    char **cells = realloc(table->cells, capacity * sizeof *cells);
    if (cells == NULL) {
        return false;
    }
    table->cells = cells;
    bool *rule_after = realloc(table->rule_after, capacity * sizeof *rule_after);
    if (rule_after == NULL) {
        return false;
    }
    table->rule_after = rule_after;
    table->capacity = capacity;
    return true;
}

void lilac_table_cell(lilac_table *table, const char *format, ...) {
    if (table == NULL || table->failed) {
        return;
    }
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, arguments);
    char *cell = length < 0 ? NULL : malloc((size_t)length + 1);
    if (cell == NULL || !reserve(table)) {
        free(cell);
        table->failed = true;
    } else {
        vsnprintf(cell, (size_t)length + 1, format, again);
        table->cells[table->count] = cell;
        table->rule_after[table->count] = false;
        table->count++;
    }
    va_end(again);
    va_end(arguments);
}

void lilac_table_number(lilac_table *table, int decimals, const char *unit, double value) {
    if (isnan(value)) {
        lilac_table_cell(table, "-");
    } else {
        lilac_table_cell(table, "%.*f%s", decimals, value, unit);
    }
}

void lilac_table_rule(lilac_table *table) {
    while (table != NULL && !table->failed && table->count % table->columns != 0) {
        lilac_table_cell(table, "%s", "");
    }
    if (table != NULL && !table->failed && table->count > 0) {
        table->rule_after[table->count - 1] = true;
    }
}

/* Characters of UTF-8 text: all bytes but those that continue a character. */
static size_t text_width(const char *text) {
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static void print_padding(size_t count, char character, FILE *file) {
    for (size_t i = 0; i < count; i++) {
        fputc(character, file);
    }
}

/* The number of cells of a row up to its last that is not empty, so that no line ends in spaces. */
static size_t filled_cells(const lilac_table *table, size_t row) {
    const size_t left = table->count - row * table->columns;
    size_t filled = left < table->columns ? left : table->columns;
    while (filled > 0 && table->cells[row * table->columns + filled - 1][0] == '\0') {
        filled--;
    }
    return filled;
}

static void print_row(const lilac_table *table, size_t row, const size_t *widths, FILE *file) {
    const size_t filled = filled_cells(table, row);
    for (size_t column = 0; column < filled; column++) {
        const char *cell = table->cells[row * table->columns + column];
        const size_t padding = widths[column] - text_width(cell);
        const bool right = table->alignment[column] == 'r';
        print_padding(right ? padding : 0, ' ', file);
        fputs(cell, file);
        print_padding(column + 1 == filled ? 0 : (right ? 0 : padding) + GAP, ' ', file);
    }
    fputc('\n', file);
}

static void print_rule(const lilac_table *table, const size_t *widths, FILE *file) {
    size_t total = GAP * (table->columns - 1);
    for (size_t column = 0; column < table->columns; column++) {
        total += widths[column];
    }
    print_padding(total, '-', file);
    fputc('\n', file);
}

lilac_table *lilac_table_create_headed(const char *alignment, size_t count, const char *const *head) {
    lilac_table *table = lilac_table_create(alignment);
    for (size_t i = 0; i < count; i++) {
        lilac_table_cell(table, "%s", head[i]);
    }
    return table;
}

bool lilac_table_print(const lilac_table *table, FILE *file) {
    size_t *widths = table == NULL || table->failed ? NULL : calloc(table->columns, sizeof *widths);
    if (widths == NULL) {
        return false;
    }
    for (size_t i = 0; i < table->count; i++) {
        const size_t width = text_width(table->cells[i]);
        if (width > widths[i % table->columns]) {
            widths[i % table->columns] = width;
        }
    }
    for (size_t row = 0; row * table->columns < table->count; row++) {
        print_row(table, row, widths, file);
        const size_t next = (row + 1) * table->columns;
        if (next <= table->count && table->rule_after[next - 1]) {
            print_rule(table, widths, file);
        }
    }
    free(widths);
    return true;
}

bool lilac_table_finish(lilac_table *table, FILE *file) {
    const bool printed = lilac_table_print(table, file);
    lilac_table_destroy(table);
    return printed;
}
