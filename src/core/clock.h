/* SPDX-License-Identifier: MIT */
#ifndef LILAC_CORE_CLOCK_H
#define LILAC_CORE_CLOCK_H

/* Seconds of a clock that only moves forward, from an arbitrary start. Thread safe. */
double lilac_clock_seconds(void);

#endif
