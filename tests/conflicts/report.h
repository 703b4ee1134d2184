/* SPDX-License-Identifier: BSD-2-Clause */
/* What was found, put together by line, and the places in the source that it comes from. */
#ifndef CONFLICTS_REPORT_H
#define CONFLICTS_REPORT_H

#include "exceptions.h"

/* One clash of operations one and two; covered: by this exception, or NULL. */
void report_add(unsigned relation, unsigned one, unsigned two, const struct clash *c, const struct exception *covered);

/* All that is not covered, with every place; with `all` what is covered, too. */
void report_print(bool all);

#endif
