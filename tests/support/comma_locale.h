/* SPDX-License-Identifier: MIT */
/* A locale whose decimal point is a comma: what a program that embeds the library may have set. */
#ifndef LILAC_TESTS_COMMA_LOCALE_H
#define LILAC_TESTS_COMMA_LOCALE_H

#include <stdbool.h>

/* Makes such a locale and sets it for the whole process; false where that cannot be done here. */
bool comma_locale_set(void);

/* Sets the "C" locale again. */
void comma_locale_reset(void);

#endif
