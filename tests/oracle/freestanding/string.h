/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what the reference walker wants of <string.h> where there is no C library; must not know anything else. */
#ifndef ORACLE_STRING_H
#define ORACLE_STRING_H

#include "../../../port/bare/mem.h"

#endif
