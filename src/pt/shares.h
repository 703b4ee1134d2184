/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many mappings share a frame. Two stores behind one interface: the embedder's record of each frame, if it has one
 * (aspace_hal.frame_counts), else a sparse table of the host's, with a page for each 2 MiB of physical memory in which
 * a frame was shared. Owns the counts and their locks; must not know why frames are shared.
 *
 * A frame without a count has one mapping. A run of frames that is shared as a whole, under a large leaf, may be mapped
 * in pieces by some of the sharers: then a piece is shared by those that map the whole and those that map the piece.
 *
 *   whole    of the run's first frame: mappings of all of it; 0: not shared as a whole
 *   sharers  of a frame: mappings beyond the first; with SHARES_GROUPED, of this piece alone, beside `whole` of its run
 *
 * All changes are made under one of a few locks, by 2 MiB of physical memory, that are held for a few instructions, or
 * for a run of frames when it falls apart; nothing else is locked or called meanwhile.
 */
#ifndef PT_SHARES_H
#define PT_SHARES_H

#include "sync/host.h"

#define SHARES_GROUPED (1u << 31)

/* When sharers of a run split it, their mappings join those of the pieces: so many of either leave the flag alone. */
#define SHARES_MAX (SHARES_GROUPED / 2 - 1)

/* Room for the counts of the run of 2^order frames at pa: OK, NO_MEMORY. Outside of locks. */
int shares_prepare(struct aspace_host *host, aspace_pa_t pa);

/* One mapping more, in a place prepared. LIMIT: there are as many as may be, and nothing is changed. */
int shares_add(struct aspace_host *host, aspace_pa_t pa, unsigned order);

/* One mapping less; the last one frees what is mapped nowhere else through the HAL. Outside of locks. */
void shares_drop(struct aspace_host *host, aspace_pa_t pa, unsigned order);

/* Is the caller's mapping the only one? It stays so until the caller shares it again. Lock-free. */
bool shares_unique(const struct aspace_host *host, aspace_pa_t pa, unsigned order);

/* The caller's mapping of a run becomes mappings of each of its frames. */
void shares_split(struct aspace_host *host, aspace_pa_t pa, unsigned order);

/* The sparse table itself, for counts of other sorts: the page with the counts of the frame at pa and its neighbours of
 * 2 MiB, NULL if there is none; and to make one, NO_MEMORY. The lock guards what is in the page. */
void *shares_page(void *const *root, aspace_pa_t pa);
int shares_prepare_page(struct aspace_host *host, void **root, aspace_pa_t pa);
uint32_t *shares_lock(struct aspace_host *host, aspace_pa_t pa);

/* Free the table as far as nothing is shared: no other call may be in progress on the host. */
void shares_trim(struct aspace_host *host);

#endif
