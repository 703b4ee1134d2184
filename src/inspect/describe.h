/* SPDX-License-Identifier: BSD-2-Clause */
/* Words for what a person is shown: kinds, rights, attributes. Knows no space. */
#ifndef INSPECT_DESCRIBE_H
#define INSPECT_DESCRIBE_H

#include <aspace/inspect.h>

#include "inspect/text.h"

enum { LINE_BYTES = 240 };

const char *kind_name(unsigned kind);
const char *fork_name(unsigned fork);
void text_rights(struct text *t, const char *before, uint32_t rights); /* "rw--" */
void text_attr(struct text *t, const char *before, uint32_t attr);     /* "default", "device+encrypted" */

#endif
