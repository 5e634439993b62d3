/* SPDX-License-Identifier: MIT */
#include "gnuplot.h"

#include "runtime/file.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

/* POSIX leaves its declaration to the program. */
extern char **environ;

lilac_status lilac_gnuplot_check(lilac_context *context) {
    /* A constant command line: nothing of the user's reaches the shell. */
    if (system("command -v gnuplot >/dev/null 2>&1") != 0) {
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "drawing a figure: gnuplot is not installed");
    }
    return LILAC_OK;
}

/* gnuplot as it runs: its standard input and output, our ends of them. */
typedef struct gnuplot {
    pid_t process;
    int input, output;
} gnuplot;

/* A pipe whose ends no other program inherits. */
static bool open_pipe(int ends[2]) {
    if (pipe(ends) != 0) {
        return false;
    }
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    return true;
}

/* Runs gnuplot with the ends of two pipes. The signals that this program blocks or ignores would stay so in what it
 * runs, and Ctrl-C would not end a gnuplot that hangs. */
static bool spawn(const int input[2], const int output[2], pid_t *process) {
    static char name[] = "gnuplot";
    char *arguments[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGINT);
    sigaddset(&usual, SIGTERM);
    sigaddset(&usual, SIGPIPE);
    if (posix_spawn_file_actions_init(&actions) != 0) {
        return false;
    }
    bool spawned = posix_spawnattr_init(&attributes) == 0;
    if (spawned) {
        spawned = posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO) == 0 &&
                  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO) == 0 &&
                  posix_spawnattr_setsigmask(&attributes, &none) == 0 &&
                  posix_spawnattr_setsigdefault(&attributes, &usual) == 0 &&
                  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) == 0 &&
                  posix_spawnp(process, name, &actions, &attributes, arguments, environ) == 0;
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return spawned;
}

static bool start(gnuplot *g) {
    int input[2], output[2];
    if (!open_pipe(input)) {
        return false;
    }
    if (!open_pipe(output)) {
        close(input[0]);
        close(input[1]);
        return false;
    }
    const bool started = spawn(input, output, &g->process);
    close(input[0]);
    close(output[1]);
    g->input = input[1];
    g->output = output[0];
    if (!started) {
        close(g->input);
        close(g->output);
        return false;
    }
    /* What gnuplot does not take yet must not keep its output from being read. */
    fcntl(g->input, F_SETFL, O_NONBLOCK);
    return true;
}

static bool is_passing(int error) {
    return error == EINTR || error == EAGAIN;
}

/* Sends the script and takes what comes back to copy, which may be NULL; both at once, for each waits for the other
 * when a pipe is full. False if gnuplot did not take all of the script. */
static bool converse(gnuplot *g, const char *script, FILE *copy) {
    char bytes[4096];
    size_t left = strlen(script);
    for (;;) {
        struct pollfd files[] = {{.fd = g->output, .events = POLLIN}, {.fd = g->input, .events = POLLOUT}};
        if (poll(files, 2, -1) < 0) {
            continue; /* a signal */
        }
        if (files[1].revents != 0) {
            const ssize_t sent = write(g->input, script, left);
            const bool gone = sent < 0 && !is_passing(errno);
            script += sent > 0 ? sent : 0;
            left -= sent > 0 ? (size_t)sent : 0;
            if (left == 0 || gone) {
                close(g->input);
                g->input = -1; /* which poll passes over */
            }
        }
        if (files[0].revents != 0) {
            const ssize_t count = read(g->output, bytes, sizeof bytes);
            if (count == 0 || (count < 0 && !is_passing(errno))) {
                return left == 0;
            }
            if (count > 0 && copy != NULL) {
                fwrite(bytes, 1, (size_t)count, copy);
            }
        }
    }
}

/* Closes what is open and waits for gnuplot's end; false if it failed. */
static bool finish(gnuplot *g) {
    int result = -1;
    if (g->input >= 0) {
        close(g->input);
    }
    close(g->output);
    while (waitpid(g->process, &result, 0) < 0 && errno == EINTR) {
    }
    return result == 0;
}

/* What gnuplot prints; NULL where it could not be run, failed, or memory was short. */
static char *read_output(const char *script) {
    char *text = NULL;
    size_t size = 0;
    gnuplot g;
    if (!start(&g)) {
        return NULL;
    }
    FILE *copy = open_memstream(&text, &size);
    bool well = converse(&g, script, copy);
    well = finish(&g) && well;
    if (copy == NULL || fclose(copy) != 0 || !well || size == 0) {
        free(text);
        return NULL;
    }
    return text;
}

static lilac_status run(lilac_context *context, const char *script, char **figure) {
    char *output = read_output(script);
    if (output == NULL) {
        return lilac_fail(context, LILAC_ERROR_UNSUPPORTED, "drawing a figure: gnuplot failed");
    }
    *figure = output;
    return LILAC_OK;
}

lilac_status lilac_gnuplot_draw(lilac_context *context, lilac_gnuplot_script *write, const void *argument,
                                char **figure) {
    char *text = NULL;
    size_t size = 0;
    FILE *script = open_memstream(&text, &size);
    if (script == NULL) {
        return lilac_fail_memory(context, "drawing a figure", size);
    }
    write(script, argument);
    const lilac_status status =
        fclose(script) != 0 ? lilac_fail_memory(context, "drawing a figure", size) : run(context, text, figure);
    free(text);
    return status;
}

lilac_status lilac_gnuplot_save(lilac_context *context, lilac_gnuplot_script *write, const void *argument,
                                const char *path) {
    char *figure;
    LILAC_TRY(lilac_gnuplot_draw(context, write, argument, &figure));
    const lilac_status status = lilac_file_write(context, path, figure, strlen(figure));
    free(figure);
    return status;
}
