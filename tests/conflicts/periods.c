/* SPDX-License-Identifier: BSD-2-Clause */
#include "periods.h"
void periods_run(enum aspace_format format, unsigned *passed, unsigned *failed)
{
    (void)format;
    (void)passed;
    (void)failed;
}
