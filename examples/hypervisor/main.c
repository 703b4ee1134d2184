/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owns the guest's life: sets up the host and the space, loads the guest through the library, answers its faults, and
 * at the end reports, audits and destroys. Knows no instruction set: vcpu.h is what it sees of the architecture.
 */
#include "hyp.h"

#include <aspace/memory.h>
#include <stdatomic.h>
#include <string.h>

enum { HUGE_BYTES = 0x200000, BOOT_DATA_BYTES = 0x10000, STOP_SECONDS = 5, YIELD_US = 20 };

static _Alignas(ASPACE_CACHE_LINE) uint8_t host_memory[ASPACE_HOST_BYTES(HYP_CPUS_MAX)];
static _Alignas(ASPACE_CACHE_LINE) uint8_t space_memory[ASPACE_BYTES(HYP_CPUS_MAX)];
static struct aspace_host *const host = (struct aspace_host *)host_memory;
static struct aspace *const space = (struct aspace *)space_memory;

/* A vCPU is OFF, then somebody claims it (STARTING), then it runs (ON) and counts in `running`. */
enum { VCPU_OFF, VCPU_STARTING, VCPU_ON };
static struct vcpu {
    atomic_int state;
    uint64_t entry, arg;
} vcpus[HYP_CPUS_MAX];

static atomic_uint running;
static atomic_uint stopping;
static uint64_t start_ticks;
static uint64_t frames_before;
static uint8_t boot_data[BOOT_DATA_BYTES];

/* ---- the host's side of the library ---- */

static aspace_pa_t hal_alloc(void *ctx, unsigned order, unsigned flags)
{
    (void)ctx;
    return frames_alloc(order, flags);
}

static void hal_free(void *ctx, aspace_pa_t pa, unsigned order)
{
    (void)ctx;
    frames_free(pa, order);
}

static struct aspace_hal hal = {.alloc = hal_alloc, .free = hal_free};

void hyp_icache_sync(uint64_t pa, uint64_t bytes)
{
    if (hal.icache_sync)
        hal.icache_sync(NULL, pa, bytes);
}

static void must(int error, const char *what)
{
    if (error != ASPACE_OK)
        fail("%s: %s", what, aspace_error_message(error));
}

static uint64_t highest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/*
 * Everything above the hypervisor, the kernel and the initrd is for frames. Instructions get into a frame by the
 * guest's own stores, after which it synchronises by itself, or by the loader's, before it starts; only where pages are
 * moved under the running guest must the library do it.
 */
static void set_up_host(void)
{
    extern char hyp_end[];
    uint64_t begin = highest((uint64_t)(uintptr_t)hyp_end, options.kernel_at + options.kernel_bytes);
    begin = highest(begin, options.initrd_at + options.initrd_bytes);
    begin = (begin + HUGE_BYTES - 1) & ~(uint64_t)(HUGE_BYTES - 1);
    frames_init(begin, machine.ram + machine.ram_bytes);
    frames_before = frames_free_count();
    print("host: %u CPUs, %lu MiB of frames from 0x%lx", machine.cpus, frames_before >> 8, begin);

    const struct aspace_host_config config = {.cpus = options.cpus + options.stress, .smr = ASPACE_SMR_EPOCH};
    arch_hal(&hal);
    if (!options.stress)
        hal.icache_sync = NULL;
    must(aspace_host_init(host, &hal, NULL, &config), "host");
}

/* ---- the guest ---- */

static void map_guest(const struct guest_layout *guest)
{
    const struct aspace_map ram = {
        .va = guest->ram,
        .size = guest->ram_bytes - window_bytes(),
        .kind = ASPACE_KIND_LAZY,
        .rights = ASPACE_RWX,
        .attr = ASPACE_ATTR_DEFAULT,
        .max_leaf_level = options.leaf_level,
    };
    must(aspace_map(space, &ram, NULL), "mapping the guest's RAM");
    must(window_map(space), "mapping the end of the guest's RAM");
    for (size_t i = 0; i < arch.device_count; i++) {
        const struct guest_device *device = &arch.devices[i];
        if (device->cpus > guest->cpus)
            continue;
        const struct aspace_map map = {
            .va = device->va,
            .size = device->bytes,
            .kind = device->kind,
            .rights = device->rights,
            .attr = device->attr,
            .pa = device->va,
            .cookie = device->va,
        };
        must(aspace_map(space, &map, NULL), "mapping a device");
    }
}

/* Devices lie below the RAM or above it. */
static uint64_t space_end(const struct guest_layout *guest)
{
    uint64_t end = guest->ram + guest->ram_bytes + scratch_bytes();
    for (size_t i = 0; i < arch.device_count; i++)
        if (arch.devices[i].cpus <= guest->cpus)
            end = highest(end, arch.devices[i].va + arch.devices[i].bytes);
    return end;
}

static void create_space(const struct guest_layout *guest)
{
    struct aspace_config config = {
        .base = 0,
        .size = space_end(guest),
        .tag = 1,
        .max_leaf_level = 2,
    };
    arch_space(&config);
    if (options.format != ASPACE_FMT_COUNT)
        config.format = options.format;
    must(aspace_create(space, host, &config), "creating the space");
    map_guest(guest);
}

static void copy_in(uint64_t va, const void *from, uint64_t bytes, const char *what)
{
    must(aspace_write(space, va, from, bytes, NULL), what);
}

static uint64_t round_up(uint64_t value)
{
    return (value + HUGE_BYTES - 1) & ~(uint64_t)(HUGE_BYTES - 1);
}

/* The kernel where its boot protocol wants it, then the initrd behind all that the kernel takes, then the boot data,
 * unless the machine has another place for them. */
static void lay_out(struct guest_layout *guest, struct guest_kernel *kernel)
{
    guest->image = aspace_phys_to_virt(options.kernel_at);
    if (!arch_guest_kernel(guest->image, kernel) || kernel->skip >= options.kernel_bytes)
        fail("what lies at 0x%lx is no Linux kernel for %s", options.kernel_at, arch.name);

    guest->ram = arch.guest_ram;
    guest->ram_bytes = options.ram_bytes;
    guest->initrd = round_up(kernel->at + highest(kernel->bytes, options.kernel_bytes - kernel->skip));
    guest->initrd_bytes = options.initrd_bytes;
    uint64_t end = round_up(guest->initrd + guest->initrd_bytes);
    guest->boot_data = kernel->boot_data ? kernel->boot_data : end;
    guest->cpus = options.cpus;
    guest->command_line = options.command_line;
    if (end + HUGE_BYTES > guest->ram + guest->ram_bytes)
        fail("%lu MiB of RAM are too little for this kernel and initrd", guest->ram_bytes >> 20);
}

static void load_guest(const struct guest_layout *guest, const struct guest_kernel *kernel, size_t bytes)
{
    copy_in(kernel->at, guest->image + kernel->skip, options.kernel_bytes - kernel->skip, "loading the kernel");
    copy_in(guest->initrd, aspace_phys_to_virt(options.initrd_at), options.initrd_bytes, "loading the initrd");
    copy_in(guest->boot_data, boot_data, bytes, "loading the boot data");
}

bool hyp_guest_read(uint64_t va, void *buffer, size_t bytes)
{
    for (;;) {
        unsigned ticket = stress_ticket();
        int error = aspace_read(space, va, buffer, bytes, NULL);
        bool stressed = stress_explains(ticket, va) || stress_explains(ticket, va + bytes - 1);
        if (error == ASPACE_OK || !stressed)
            return error == ASPACE_OK;
        arch_yield(YIELD_US);
    }
}

/* ---- vCPUs ---- */

static _Noreturn void vcpu_run(unsigned vcpu)
{
    atomic_fetch_add(&running, 1);
    atomic_store(&vcpus[vcpu].state, VCPU_ON);
    struct aspace_registers registers;
    aspace_registers(space, &registers);
    aspace_activate(space);
    arch_vcpu_enter(&registers, vcpus[vcpu].entry, vcpus[vcpu].arg);
}

bool hyp_vcpu_start(unsigned vcpu, uint64_t entry, uint64_t arg)
{
    int off = VCPU_OFF;
    if (vcpu >= options.cpus || !atomic_compare_exchange_strong(&vcpus[vcpu].state, &off, VCPU_STARTING))
        return false;
    vcpus[vcpu].entry = entry;
    vcpus[vcpu].arg = arg;
    if (!arch_cpu_start(vcpu)) {
        atomic_store(&vcpus[vcpu].state, VCPU_OFF);
        return false;
    }
    return true;
}

static void leave_space(void)
{
    arch_vcpu_unload();
    aspace_deactivate(space);
    atomic_fetch_sub(&running, 1);
}

void hyp_vcpu_off(void)
{
    leave_space();
    atomic_store(&vcpus[aspace_cpu_id()].state, VCPU_OFF);
    arch_cpu_park();
}

bool hyp_vcpu_is_on(unsigned vcpu)
{
    return vcpu < options.cpus && atomic_load(&vcpus[vcpu].state) == VCPU_ON;
}

unsigned hyp_vcpus(void)
{
    return options.cpus;
}

void hyp_check_stop(void)
{
    if (!atomic_load(&stopping))
        return;
    leave_space();
    arch_cpu_park();
}

void hyp_guest_is_stale(uint64_t pc)
{
    fail("an instruction at guest address 0x%lx comes from a frame that was given back", pc);
}

static void refuse(enum aspace_fault_result result, uint64_t va, uint32_t access)
{
    char why[96];
    const char *what = access & ASPACE_X ? "fetch" : access & ASPACE_W ? "write" : "read";
    format_text(why, sizeof why, "%s for a %s at guest address 0x%lx", aspace_fault_name(result), what, va);
    hyp_guest_exit(why);
}

/* No lock here: any number of vCPUs fault at once. */
enum hyp_verdict hyp_guest_fault(uint64_t va, uint32_t access)
{
    hyp_check_stop();
    unsigned ticket = stress_ticket();
    enum aspace_fault_result result = aspace_fault(space, va, access, NULL);
    switch (result) {
    case ASPACE_FAULT_DONE: return HYP_RESUME;
    case ASPACE_FAULT_SPURIOUS: arch_fence_local(va); return HYP_RESUME;
    case ASPACE_FAULT_RETRY: arch_yield(YIELD_US); return HYP_RESUME;
    case ASPACE_FAULT_TRAP: return HYP_DEVICE;
    case ASPACE_FAULT_NO_AREA:
    case ASPACE_FAULT_PERMISSION:
        if (stress_explains(ticket, va) || atomic_load(&stopping)) {
            arch_yield(YIELD_US);
            return HYP_RESUME;
        }
        /* fall through */
    default: refuse(result, va, access); return HYP_RESUME;
    }
}

/* ---- the end ---- */

/* Get the other vCPUs out of the guest. One that spins there with its interrupts off notices that its memory is
 * unreachable; one that sleeps is woken. */
static void stop_others(void)
{
    if (atomic_load(&running) == 0)
        return;
    must(aspace_protect(space, arch.guest_ram, options.ram_bytes, 0), "taking the guest's RAM away");
    for (unsigned i = 0; i < options.cpus; i++)
        if (i != aspace_cpu_id() && hyp_vcpu_is_on(i))
            arch_vcpu_kick(i);
    uint64_t end = arch_ticks() + STOP_SECONDS * arch_ticks_hz();
    while (atomic_load(&running) != 0) {
        if (arch_ticks() > end)
            fail("%u vCPUs do not stop", atomic_load(&running));
        aspace_pause();
    }
}

static void wait_for_stress(void)
{
    uint64_t end = arch_ticks() + STOP_SECONDS * arch_ticks_hz();
    while (!stress_stopped()) {
        if (arch_ticks() > end)
            fail("a stress CPU does not stop");
        aspace_pause();
    }
}

static void print_counters(const struct aspace_counters *c)
{
    for (unsigned i = 0; i < ASPACE_FAULT_COUNT; i++)
        if (c->faults[i])
            print("faults: %s %lu", aspace_fault_name((enum aspace_fault_result)i), c->faults[i]);
    print("tables: %lu, frames: %lu, leaves of 4K: %lu, 2M: %lu", c->tables, c->frames, c->mapped[0], c->mapped[1]);
    print("flushes: %lu (%lu entries, %lu full), splits: %lu, collapses: %lu, migrations: %lu, retries: %lu",
          c->flushes, c->flushed_entries, c->full_flushes, c->splits, c->collapses, c->migrations, c->retries);
}

static void print_audit(void *arg, const char *line)
{
    (void)arg;
    print("audit: %s", line);
}

/* faults= counts the answers after which the guest went on: DONE, and SPURIOUS where another CPU was first. tables= and
 * frames= are what the space held when the guest was done. */
static void report(const struct aspace_counters *c, uint64_t boot_ms)
{
    size_t violations = aspace_audit(space, print_audit, NULL);

    frames_guest_gone();
    must(aspace_destroy(space), "destroying the space");
    window_free();
    must(aspace_host_fini(host), "taking the host down");
    int64_t leaked = (int64_t)(frames_before - frames_free_count());
    if (frames_bad_frees() != 0)
        fail("%lu frames came back that were not out", frames_bad_frees());
    if (violations != 0)
        fail("the audit found %lu violations", (uint64_t)violations);
    if (leaked != 0)
        fail("%lu frames %s", (uint64_t)(leaked < 0 ? -leaked : leaked), leaked < 0 ? "too many came back" : "leaked");
    uint64_t faults = c->faults[ASPACE_FAULT_DONE] + c->faults[ASPACE_FAULT_SPURIOUS];
    print("guest ok: arch=%s vcpus=%u kernel=%s pages=%s faults=%lu tables=%lu frames=%lu boot_ms=%lu "
          "leaked=%lu audit=ok",
          arch.name, options.cpus, options.kernel, options.pages, faults, c->tables, c->frames, boot_ms,
          (uint64_t)leaked);
}

void hyp_guest_exit(const char *why)
{
    uint64_t boot_ms = (arch_ticks() - start_ticks) * 1000 / arch_ticks_hz();
    if (atomic_exchange(&stopping, 1))
        hyp_check_stop();
    if (why)
        fail("%s", why);
    leave_space();
    wait_for_stress();

    struct aspace_counters counters;
    aspace_counters_read(space, &counters);
    print_counters(&counters);
    stress_report();
    stop_others();
    report(&counters, boot_ms);
    arch_machine_off();
}

/* ---- the beginning ---- */

void hyp_main(const void *boot_info)
{
    struct guest_layout guest;
    struct guest_kernel kernel;
    arch_cpu_init();
    arch_machine_read(boot_info);
    options_read(machine.bootargs);
    lay_out(&guest, &kernel);
    size_t bytes = arch_guest_boot_data(boot_info, &guest, boot_data, sizeof boot_data);
    if (bytes == 0)
        fail("the guest's boot data do not fit");

    set_up_host(); /* from here on boot_info may be overwritten */
    create_space(&guest);
    load_guest(&guest, &kernel, bytes);
    print("guest: %u vCPUs, %lu MiB at 0x%lx, pages: %s, format: %s%s%s", guest.cpus, guest.ram_bytes >> 20, guest.ram,
          options.pages, aspace_format_name(aspace_format_of(space)), *arch_left_out() ? ", left out: " : "",
          arch_left_out());

    start_ticks = arch_ticks();
    for (unsigned i = 0; i < options.stress; i++)
        if (!arch_cpu_start(options.cpus + i))
            fail("stress CPU %u does not start", i);
    vcpus[0].entry = kernel.entry;
    vcpus[0].arg = guest.boot_data;
    vcpu_run(0);
}

void hyp_cpu_main(unsigned cpu)
{
    arch_cpu_init();
    if (cpu >= options.cpus)
        stress_run(host, space, cpu - options.cpus);
    vcpu_run(cpu);
}
