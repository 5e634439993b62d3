/* SPDX-License-Identifier: MIT */
/* Numbers as text in files: always with a decimal point, whatever locale the program has set. */
#ifndef LILAC_FORMAT_NUMBER_TEXT_H
#define LILAC_FORMAT_NUMBER_TEXT_H

#include <stdbool.h>
#include <stdint.h>

enum { LILAC_NUMBER_TEXT_SIZE = 32 };

/* Writes a finite number so that reading the text gives the same bits. */
void lilac_number_text(double value, char text[LILAC_NUMBER_TEXT_SIZE]);

/* Parse a whole text: a finite number in decimal notation, a whole number from 0 to 2^64-1 in digits. False, with
 * *value untouched, if it is anything else. */
bool lilac_number_parse(const char *text, double *value);
bool lilac_number_parse_whole(const char *text, uint64_t *value);

#endif
