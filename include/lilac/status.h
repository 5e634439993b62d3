/* SPDX-License-Identifier: MIT */
/*
 * Status codes. Every function that can fail returns one; on any value but LILAC_OK its outputs are untouched, unless
 * its own comment says otherwise. The numbers are part of the ABI and never change; new codes are added at the end.
 */
#ifndef LILAC_STATUS_H
#define LILAC_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LILAC_API __attribute__((visibility("default")))
#define LILAC_MUST_USE __attribute__((warn_unused_result))
#else
#define LILAC_API
#define LILAC_MUST_USE
#endif

typedef enum lilac_status {
    LILAC_OK = 0,
    LILAC_ERROR_ARGUMENT = 1,        /* a null pointer, an impossible setting */
    LILAC_ERROR_SHAPE = 2,           /* sizes that do not fit each other */
    LILAC_ERROR_OVERFLOW = 3,        /* a size or product of sizes beyond what the machine can address */
    LILAC_ERROR_MEMORY = 4,          /* an allocation failed */
    LILAC_ERROR_IO = 5,              /* the operating system refused to open, read, write or rename */
    LILAC_ERROR_NOT_FOUND = 6,       /* a file or a named thing does not exist */
    LILAC_ERROR_FORMAT = 7,          /* a file's content breaks its format's rules */
    LILAC_ERROR_MAGIC = 8,           /* a file does not start as its format must: it is another kind of file */
    LILAC_ERROR_TRUNCATED = 9,       /* a file ends before the content it announces */
    LILAC_ERROR_TRAILING = 10,       /* a file goes on after the content it announces */
    LILAC_ERROR_VALUE_RANGE = 11,    /* a stored value lies outside its allowed range (a label above 9) */
    LILAC_ERROR_COUNT_MISMATCH = 12, /* two files that belong together differ in their number of items */
    LILAC_ERROR_BASE_MISMATCH = 13,  /* an adapter was made for another base model */
    LILAC_ERROR_UNSUPPORTED = 14,    /* valid, but not something this build or this version can do */
    LILAC_ERROR_NOT_FINITE = 15,     /* a loss or a weight became infinite or not a number */
    LILAC_CANCELLED = 16             /* the caller's progress callback asked to stop */
} lilac_status;

/* Returns a short constant English name of the status, such as "file truncated"; never NULL. Thread safe. */
LILAC_API const char *lilac_status_string(lilac_status status);

#ifdef __cplusplus
}
#endif
#endif
