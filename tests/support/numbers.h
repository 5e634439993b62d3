/* SPDX-License-Identifier: MIT */
/* Random test inputs, and comparison of floats with what a computation in double gives. */
#ifndef LILAC_TESTS_NUMBERS_H
#define LILAC_TESTS_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

/* Uniform in [low, high); another stream gives other numbers. */
void lilac_test_uniform(uint64_t stream, size_t count, float low, float high, float *values);

/* count such numbers from -1 to 1, and their copies in double: to be freed with free. */
float *lilac_test_floats(size_t count, uint64_t stream);
double *lilac_test_doubles(size_t count, const float *values);

/* Fails the test unless |found - expected| <= absolute + relative * |expected| for every element. */
void lilac_test_expect_close(const char *what, size_t count, const float *found, const double *expected,
                             double absolute, double relative);

/* A function of variables that its argument leads to. */
typedef double lilac_test_function(void *argument);

/*
 * Fails the test unless gradient[i] is the derivative of the function by variables[i], taken as a central difference,
 * within tolerance * (largest derivative of all). Also fails where all derivatives are 0: that would check nothing.
 */
void lilac_test_expect_gradient(const char *what, lilac_test_function *function, void *argument, size_t count,
                                double *variables, const float *gradient, double tolerance);

#endif
