/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns interrupts in root mode: they are off, but where this CPU waits for one. */
#include "x86_64.h"

enum { VECTORS = 256, ENTRY_BYTES = 16, GATE_INTERRUPT = 0x8e };

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

extern struct gate idt[VECTORS];
extern char interrupt_entries[], idt_pointer[];
extern uint32_t interrupt_taken[HYP_CPUS_MAX];
void wait_unless(const atomic_uint *word);

void idt_load(void)
{
    for (unsigned i = 0; i < VECTORS; i++) {
        uint64_t to = (uintptr_t)interrupt_entries + i * ENTRY_BYTES;
        idt[i] = (struct gate){
            .offset_low = (uint16_t)to,
            .selector = SELECTOR_CODE,
            .type = GATE_INTERRUPT,
            .offset_middle = (uint16_t)(to >> 16),
            .offset_high = (uint32_t)(to >> 32),
        };
    }
}

/* Its entry lets no other in. An NMI ends the wait as well. */
uint32_t wait_for_interrupt(const atomic_uint *unless)
{
    volatile uint32_t *taken = &interrupt_taken[aspace_cpu_id()];
    *taken = 0;
    wait_unless(unless);
    return *taken;
}
