/* SPDX-License-Identifier: MIT */
/* Tests how gnuplot is run, with programs of that name that are none. */
#include "gnuplot.h"

#include <lilac/lilac.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { LINES = 40000 }; /* of a script: far more than pipes and command lines hold */

static char folder[] = "/tmp/lilac-gnuplot-XXXXXX", program[64];

/* Puts a program in gnuplot's place. */
static void set_gnuplot(const char *script) {
    FILE *file = fopen(program, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", script);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(program, 0700), 0);
}

static void write_lines(FILE *script, const void *argument) {
    (void)argument;
    for (int i = 0; i < LINES; i++) {
        fprintf(script, "line %d\n", i);
    }
}

static void expect_failure(lilac_context *context) {
    char *figure = NULL;
    assert_int_equal(lilac_gnuplot_draw(context, write_lines, NULL, &figure), LILAC_ERROR_UNSUPPORTED);
    assert_null(figure);
    assert_string_equal(lilac_context_message(context), "drawing a figure: gnuplot failed");
}

/* What comes back while the script is still being sent does not stop either. */
static void test_long_script(void **state) {
    char *expected = NULL, *figure = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&expected, &size);
    assert_non_null(file);
    write_lines(file, NULL);
    assert_int_equal(fclose(file), 0);
    set_gnuplot("exec /bin/cat");
    assert_int_equal(lilac_gnuplot_draw(*state, write_lines, NULL, &figure), LILAC_OK);
    assert_string_equal(figure, expected);
    free(figure);
    free(expected);
}

static void test_failures(void **state) {
    set_gnuplot("/bin/cat; exit 1");
    expect_failure(*state);
    set_gnuplot("/bin/cat >/dev/null");
    expect_failure(*state);
    set_gnuplot("echo a figure"); /* without having read the script */
    expect_failure(*state);
    assert_int_equal(unlink(program), 0);
    expect_failure(*state);
}

/* Signals that the program blocks reach gnuplot. */
static void test_signals(void **state) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
    set_gnuplot("/bin/cat; kill -INT $$; exit 0");
    expect_failure(*state);
    set_gnuplot("/bin/cat; kill -TERM $$; exit 0");
    expect_failure(*state);
    assert_int_equal(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
}

static int create(void **state) {
    lilac_context *context = NULL;
    signal(SIGPIPE, SIG_IGN);
    if (mkdtemp(folder) == NULL || setenv("PATH", folder, 1) != 0 || lilac_context_create(NULL, &context) != LILAC_OK) {
        return -1;
    }
    snprintf(program, sizeof program, "%s/gnuplot", folder);
    *state = context;
    return 0;
}

static int destroy(void **state) {
    lilac_context_destroy(*state);
    unlink(program);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_script),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, create, destroy);
}
