/* SPDX-License-Identifier: MIT */
/* A stand-in for a full disk. */
#ifndef LILAC_TESTS_FULL_DISK_H
#define LILAC_TESTS_FULL_DISK_H

/* From here on, writing any file of this process beyond that many bytes fails; -1 lifts the limit. */
void lilac_test_limit_file_size(long bytes);

#endif
