/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns what the host's device tree says. Knows which nodes matter; nothing of the guest. */
#include "hyp.h"

#include <string.h>

struct machine machine;

/* Where in the tree the reader is: the name of the node at depth 1 and of the innermost one. */
struct place {
    struct fdt_token top, node;
};

static bool is(const struct fdt_token *property, const char *name)
{
    return strcmp(property->name, name) == 0;
}

static void read_chosen(const struct fdt_token *property)
{
    if (is(property, "bootargs") && property->bytes <= sizeof machine.bootargs)
        memcpy(machine.bootargs, property->data, property->bytes);
    else if (is(property, "linux,initrd-start"))
        machine.initrd = fdt_cells(property, 0, property->bytes / 4);
    else if (is(property, "linux,initrd-end"))
        machine.initrd_end = fdt_cells(property, 0, property->bytes / 4);
}

static void read_cpu(const struct fdt_token *property)
{
    if (is(property, "timebase-frequency"))
        machine.timebase_hz = fdt_cells(property, 0, property->bytes / 4);
    else if (is(property, "riscv,isa"))
        machine.sstc = fdt_string_has(property, "_sstc");
    else if (is(property, "reg") && property->depth == 3 && machine.cpus < HYP_CPUS_MAX)
        machine.cpu_id[machine.cpus++] = fdt_cells(property, 0, property->bytes / 4);
}

static void read_gic(const struct fdt_token *property)
{
    if (is(property, "reg")) {
        machine.gic_distributor = fdt_cells(property, 0, 2);
        machine.gic_redistributor = fdt_cells(property, 4, 2);
    } else if (is(property, "compatible"))
        machine.gic_v2 = !fdt_string_has(property, "arm,gic-v3");
}

static void read_property(const struct place *place, const struct fdt_token *property)
{
    if (fdt_name_is(&place->top, "chosen"))
        read_chosen(property);
    else if (fdt_name_is(&place->top, "memory") && is(property, "reg") && machine.ram_bytes == 0) {
        machine.ram = fdt_cells(property, 0, 2);
        machine.ram_bytes = fdt_cells(property, 2, 2);
    } else if (fdt_name_is(&place->top, "intc") && property->depth == 2)
        read_gic(property);
    else if (fdt_name_is(&place->top, "cpus") && (property->depth == 2 || fdt_name_is(&place->node, "cpu")))
        read_cpu(property);
}

void machine_read_tree(const void *device_tree)
{
    struct fdt_reader reader;
    struct fdt_token token;
    struct place place = {{.name = ""}, {.name = ""}};
    if (!fdt_open(&reader, device_tree))
        fail("the firmware passed no device tree");
    for (fdt_next(&reader, &token); token.kind != FDT_DONE; fdt_next(&reader, &token)) {
        if (token.kind == FDT_PROPERTY) {
            read_property(&place, &token);
        } else if (token.kind == FDT_NODE) {
            place.node = token;
            if (token.depth == 1)
                place.top = token;
        }
    }
    if (machine.ram_bytes == 0 || machine.cpus == 0)
        fail("the device tree describes no memory or no CPU");
}
