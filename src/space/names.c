/* SPDX-License-Identifier: BSD-2-Clause */
/* Names and messages of errors and fault answers. */
#include <aspace/fault.h>

const char *aspace_error_name(int error)
{
#define ASPACE_X(id, value, message)                                                                                   \
    if (error == (value))                                                                                              \
        return #id;
    ASPACE_ERRORS(ASPACE_X)
#undef ASPACE_X
    return "?";
}

const char *aspace_error_message(int error)
{
#define ASPACE_X(id, value, message)                                                                                   \
    if (error == (value))                                                                                              \
        return message;
    ASPACE_ERRORS(ASPACE_X)
#undef ASPACE_X
    return "?";
}

const char *aspace_fault_name(enum aspace_fault_result result)
{
#define ASPACE_X(id, text)                                                                                             \
    if (result == ASPACE_FAULT_##id)                                                                                   \
        return #id;
    ASPACE_FAULTS(ASPACE_X)
#undef ASPACE_X
    return "?";
}
