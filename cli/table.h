/* SPDX-License-Identifier: MIT */
/* Plain text tables: columns as wide as their widest cell, numbers aligned to the right. */
#ifndef LILAC_CLI_TABLE_H
#define LILAC_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct lilac_table lilac_table;

/*
 * A table with a column for each letter of alignment: 'l' left, 'r' right. NULL if memory is short; the functions below
 * accept that, and lilac_table_print reports it.
 */
lilac_table *lilac_table_create(const char *alignment);
void lilac_table_destroy(lilac_table *table);

/* A table whose first row, a name for each of its columns, is there. */
lilac_table *lilac_table_create_headed(const char *alignment, size_t count, const char *const *head);

/* Appends a cell: cells fill row after row. */
void lilac_table_cell(lilac_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends a number with that many decimals and a unit ("" or " %"); "-" for NaN, a figure of which there is none. */
void lilac_table_number(lilac_table *table, int decimals, const char *unit, double value);

/* Leaves the current row's remaining cells empty and draws a line below it. */
void lilac_table_rule(lilac_table *table);

/* Prints the table; false if memory was short at any time. */
bool lilac_table_print(const lilac_table *table, FILE *file);

/* The same, and frees the table. */
bool lilac_table_finish(lilac_table *table, FILE *file);

#endif
