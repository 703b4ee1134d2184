/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Userspace RCU (liburcu, the memb flavour) as the read sections of a host: how a process that has an RCU of its own
 * plugs it in. Its readers pay no fence. A target of its own (aspace-linux-urcu), so that the hosted port does not need
 * the library. Owns the thread that waits for grace periods; must not know the library's sources.
 *
 *     struct aspace_hal hal = *port->hal;
 *     aspace_linux_urcu_start(&hal);
 *     aspace_linux_urcu_thread_begin();            in each thread that calls the library
 *     aspace_host_init(host, &hal, port, &config);
 */
#ifndef ASPACE_LINUX_URCU_H
#define ASPACE_LINUX_URCU_H

#include <aspace/hal.h>

/* Fill in the smr_ members, and start the thread. Once a process, or again after stop. 0, or an errno. */
int aspace_linux_urcu_start(struct aspace_hal *hal);

/* When no host uses it any more. */
void aspace_linux_urcu_stop(void);

/* A thread's first call of the library comes after begin, its last before end. Outside of read sections. */
void aspace_linux_urcu_thread_begin(void);
void aspace_linux_urcu_thread_end(void);

#endif
