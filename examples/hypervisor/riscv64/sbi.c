/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the Supervisor Binary Interface in both directions: what the guest asks of us, and what we ask of the firmware.
 * Harts of the guest are numbered like our CPUs; the firmware's numbers never reach it.
 */
#include <stdatomic.h>

#include "riscv64.h"

enum {
    EXT_BASE = 0x10,
    EXT_TIME = 0x54494d45,
    EXT_IPI = 0x735049,
    EXT_RFENCE = 0x52464e43,
    EXT_HSM = 0x48534d,
    EXT_SRST = 0x53525354,
    EXT_DBCN = 0x4442434e,
};
enum { RFENCE_I = 0, RFENCE_VMA = 1, RFENCE_VMA_ASID = 2 };
enum { SBI_OK = 0, SBI_FAILED = -1, SBI_NOT_SUPPORTED = -2, SBI_INVALID = -3, SBI_ALREADY_AVAILABLE = -6 };
enum { FENCE_STRIDE = 4096 };
enum { SPEC_VERSION = 2 << 24, IMPLEMENTATION = 0xa5face };

static atomic_uint ipi_pending[HYP_CPUS_MAX];

struct sbi_result sbi_call(uint64_t extension, uint64_t function, const uint64_t args[5])
{
    register uint64_t a0 __asm__("a0") = args[0];
    register uint64_t a1 __asm__("a1") = args[1];
    register uint64_t a2 __asm__("a2") = args[2];
    register uint64_t a3 __asm__("a3") = args[3];
    register uint64_t a4 __asm__("a4") = args[4];
    register uint64_t a6 __asm__("a6") = function;
    register uint64_t a7 __asm__("a7") = extension;
    __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a3), "r"(a4), "r"(a6), "r"(a7) : "memory");
    return (struct sbi_result){(int64_t)a0, a1};
}

/* ---- what we ask ---- */

uint64_t sbi_harts(uint64_t cpus)
{
    uint64_t harts = 0;
    for (unsigned i = 0; i < HYP_CPUS_MAX; i++)
        if (cpus >> i & 1)
            harts |= UINT64_C(1) << machine.cpu_id[i];
    return harts;
}

bool arch_cpu_start(unsigned cpu)
{
    const uint64_t args[5] = {machine.cpu_id[cpu], (uintptr_t)boot};
    return sbi_call(EXT_HSM, 0, args).error == SBI_OK;
}

void arch_cpu_park(void)
{
    static const uint64_t none[5];
    (void)sbi_call(EXT_HSM, 1, none);
    for (;;)
        __asm__ volatile("wfi");
}

void arch_machine_off(void)
{
    static const uint64_t shutdown[5];
    (void)sbi_call(EXT_SRST, 0, shutdown);
    arch_cpu_park();
}

void timer_stop(void)
{
    const uint64_t never[5] = {UINT64_MAX};
    (void)sbi_call(EXT_TIME, 0, never);
}

/* Interrupts stay masked: a pending one ends WFI all the same. */
void arch_sleep(uint64_t ticks)
{
    const uint64_t args[5] = {arch_ticks() + ticks};
    (void)sbi_call(EXT_TIME, 0, args);
    while (arch_ticks() < args[0] && !(READ_CSR("sip") & 1 << INTERRUPT_SOFT))
        __asm__ volatile("wfi" ::: "memory");
    timer_stop();
}

/* Without Sstc the firmware's timer is the guest's. */
void arch_yield(uint64_t us)
{
    if (aspace_cpu_id() >= hyp_vcpus() || has_sstc())
        arch_sleep(us * arch_ticks_hz() / 1000000);
}

bool ipi_take(void)
{
    return atomic_exchange(&ipi_pending[aspace_cpu_id()], 0) != 0;
}

/* ---- what the guest asks ---- */

/* A hart mask as the SBI has it, as a set of CPUs: the vCPUs of the guest that are running. */
static uint64_t cpus_of_mask(uint64_t mask, uint64_t base)
{
    uint64_t all = (UINT64_C(1) << hyp_vcpus()) - 1;
    uint64_t cpus = base == UINT64_MAX ? all : base < 64 ? mask << base & all : 0;
    for (unsigned i = 0; i < hyp_vcpus(); i++)
        if (!hyp_vcpu_is_on(i))
            cpus &= ~(UINT64_C(1) << i);
    return cpus;
}

static int64_t probe(uint64_t extension)
{
    switch (extension) {
    case EXT_BASE:
    case EXT_TIME:
    case EXT_IPI:
    case EXT_RFENCE:
    case EXT_HSM:
    case EXT_SRST:
    case EXT_DBCN: return 1;
    default: return 0;
    }
}

static struct sbi_result base(uint64_t function, uint64_t argument)
{
    switch (function) {
    case 0: return (struct sbi_result){SBI_OK, SPEC_VERSION};
    case 1: return (struct sbi_result){SBI_OK, IMPLEMENTATION};
    case 2: return (struct sbi_result){SBI_OK, 1};
    case 3: return (struct sbi_result){SBI_OK, (uint64_t)probe(argument)};
    case 4:
    case 5:
    case 6: return (struct sbi_result){SBI_OK, 0}; /* mvendorid, marchid, mimpid */
    default: return (struct sbi_result){SBI_NOT_SUPPORTED, 0};
    }
}

static struct sbi_result set_timer(uint64_t deadline)
{
    const uint64_t args[5] = {deadline};
    if (has_sstc()) {
        WRITE_CSR(CSR_VSTIMECMP, deadline);
        return (struct sbi_result){SBI_OK, 0};
    }
    CLEAR_CSR(CSR_HVIP, HVIP_VSTIP);
    return sbi_call(EXT_TIME, 0, args);
}

static struct sbi_result send_ipi(uint64_t mask, uint64_t mask_base)
{
    uint64_t cpus = cpus_of_mask(mask, mask_base);
    for (unsigned i = 0; i < hyp_vcpus(); i++)
        if (cpus >> i & 1)
            atomic_store(&ipi_pending[i], 1);
    const uint64_t args[5] = {sbi_harts(cpus), 0};
    return cpus ? sbi_call(EXT_IPI, 0, args) : (struct sbi_result){SBI_OK, 0};
}

/* The guest's first stage: fences of the VS stage. All addresses: a size of 0, or of all ones. */
static struct sbi_result remote_fence(uint64_t function, const uint64_t *a)
{
    if (function > RFENCE_VMA_ASID)
        return (struct sbi_result){SBI_NOT_SUPPORTED, 0};
    uint64_t cpus = cpus_of_mask(a[0], a[1]);
    bool all = a[3] == 0 || a[3] == UINT64_MAX;
    struct request request = {
        .kind = function == RFENCE_VMA        ? REQUEST_VVMA
                : function == RFENCE_VMA_ASID ? REQUEST_VVMA_ASID
                                              : REQUEST_FENCE_I,
        .va = all ? 0 : a[2],
        .end = all ? 0 : a[2] + a[3],
        .stride = FENCE_STRIDE,
        .id = a[4],
    };
    if (cpus >> aspace_cpu_id() & 1)
        request_do(&request);
    mail_send(cpus, &request);
    return (struct sbi_result){SBI_OK, 0};
}

static struct sbi_result hart_state(uint64_t function, const uint64_t *a)
{
    switch (function) {
    case 0: /* hart_start */
        if (a[0] >= hyp_vcpus())
            return (struct sbi_result){SBI_INVALID, 0};
        return (struct sbi_result){hyp_vcpu_start((unsigned)a[0], a[1], a[2]) ? SBI_OK : SBI_ALREADY_AVAILABLE, 0};
    case 1: /* hart_stop */ hyp_vcpu_off();
    case 2: /* hart_get_status */
        if (a[0] >= hyp_vcpus())
            return (struct sbi_result){SBI_INVALID, 0};
        return sbi_call(EXT_HSM, 2, (const uint64_t[5]){machine.cpu_id[a[0]]});
    default: return (struct sbi_result){SBI_NOT_SUPPORTED, 0};
    }
}

/* DBCN write: the guest's buffer is at a guest-physical address, so the library reads it. */
static struct sbi_result console_write(uint64_t bytes, uint64_t va)
{
    char text[64];
    for (uint64_t done = 0; done < bytes;) {
        uint64_t n = bytes - done < sizeof text ? bytes - done : sizeof text;
        if (!hyp_guest_read(va + done, text, n))
            return (struct sbi_result){done ? SBI_OK : SBI_INVALID, done};
        for (uint64_t i = 0; i < n; i++)
            arch_console_put(text[i]);
        done += n;
    }
    return (struct sbi_result){SBI_OK, bytes};
}

static struct sbi_result console(uint64_t function, const uint64_t *a)
{
    switch (function) {
    case 0: return console_write(a[0], a[1]);
    case 1: return (struct sbi_result){SBI_OK, 0}; /* read: never anything */
    case 2: arch_console_put((char)a[0]); return (struct sbi_result){SBI_OK, 0};
    default: return (struct sbi_result){SBI_NOT_SUPPORTED, 0};
    }
}

static struct sbi_result reset(uint64_t function, uint64_t type)
{
    if (function == 0)
        hyp_guest_exit(type == 0 ? NULL : "the guest asks for a reset: it has panicked");
    return (struct sbi_result){SBI_NOT_SUPPORTED, 0};
}

static struct sbi_result dispatch(uint64_t extension, uint64_t function, const uint64_t *a)
{
    switch (extension) {
    case EXT_BASE: return base(function, a[0]);
    case EXT_TIME: return set_timer(a[0]);
    case EXT_IPI: return send_ipi(a[0], a[1]);
    case EXT_RFENCE: return remote_fence(function, a);
    case EXT_HSM: return hart_state(function, a);
    case EXT_SRST: return reset(function, a[0]);
    case EXT_DBCN: return console(function, a);
    default: return (struct sbi_result){SBI_NOT_SUPPORTED, 0};
    }
}

void sbi_handle(struct vcpu_regs *regs)
{
    struct sbi_result result = dispatch(regs->x[A7], regs->x[A6], &regs->x[A0]);
    regs->x[A0] = (uint64_t)result.error;
    regs->x[A1] = result.value;
}
