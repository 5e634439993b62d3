/* SPDX-License-Identifier: MIT */
#include "support/full_disk.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

void lilac_test_limit_file_size(long bytes) {
    struct rlimit limit;
    /* The signal would end the process before the write returns its error. */
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || getrlimit(RLIMIT_FSIZE, &limit) != 0) {
        abort();
    }
    limit.rlim_cur = bytes < 0 ? limit.rlim_max : (rlim_t)bytes;
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) {
        abort();
    }
}
