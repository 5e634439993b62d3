/* SPDX-License-Identifier: MIT */
#include <lilac/status.h>

const char *lilac_status_string(lilac_status status) {
    switch (status) {
    case LILAC_OK:
        return "ok";
    case LILAC_ERROR_ARGUMENT:
        return "invalid argument";
    case LILAC_ERROR_SHAPE:
        return "shapes do not fit";
    case LILAC_ERROR_OVERFLOW:
        return "size too large";
    case LILAC_ERROR_MEMORY:
        return "out of memory";
    case LILAC_ERROR_IO:
        return "input or output failed";
    case LILAC_ERROR_NOT_FOUND:
        return "not found";
    case LILAC_ERROR_FORMAT:
        return "malformed file";
    case LILAC_ERROR_MAGIC:
        return "wrong kind of file";
    case LILAC_ERROR_TRUNCATED:
        return "file truncated";
    case LILAC_ERROR_TRAILING:
        return "trailing bytes in file";
    case LILAC_ERROR_VALUE_RANGE:
        return "value out of range";
    case LILAC_ERROR_COUNT_MISMATCH:
        return "counts do not match";
    case LILAC_ERROR_BASE_MISMATCH:
        return "adapter belongs to another base";
    case LILAC_ERROR_UNSUPPORTED:
        return "not supported";
    case LILAC_ERROR_NOT_FINITE:
        return "not a finite number";
    case LILAC_CANCELLED:
        return "cancelled";
    }
    return "unknown status";
}
