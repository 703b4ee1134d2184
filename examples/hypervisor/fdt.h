/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flattened device trees (Devicetree Specification 0.4, chapter 5): reading one token after another, and writing one
 * node after another. Owns the binary layout; knows no node or property by name.
 */
#ifndef HYP_FDT_H
#define HYP_FDT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fdt_kind { FDT_NODE, FDT_PROPERTY, FDT_NODE_END, FDT_DONE };

struct fdt_token {
    enum fdt_kind kind;
    const char *name;    /* of the node, with its unit address, or of the property */
    const uint8_t *data; /* of the property: big-endian, not aligned */
    uint32_t bytes;
    unsigned depth; /* nodes that enclose this node or property; 0 is the root */
};

struct fdt_reader {
    const uint8_t *at, *end;
    const char *strings;
    unsigned depth;
};

bool fdt_open(struct fdt_reader *reader, const void *blob); /* false if this is no device tree */
void fdt_next(struct fdt_reader *reader, struct fdt_token *token);
void fdt_skip_node(struct fdt_reader *reader); /* the rest of the node whose FDT_NODE was read last */

/* The value of `cells` 32-bit cells from cell `first` on; 0 if the property is shorter. */
uint64_t fdt_cells(const struct fdt_token *property, unsigned first, unsigned cells);
bool fdt_string_has(const struct fdt_token *property, const char *text); /* text occurs somewhere in the property */
bool fdt_name_is(const struct fdt_token *token, const char *name);       /* "cpu" is the name of "cpu@3" */

enum { FDT_NAMES_BYTES = 4096 };

/* Errors stick: `full` is set when something did not fit. */
struct fdt_writer {
    uint8_t *blob;
    size_t bytes, capacity;
    size_t names_bytes;
    bool full;
    char names[FDT_NAMES_BYTES];
};

void fdt_begin(struct fdt_writer *writer, void *blob, size_t capacity);
void fdt_node(struct fdt_writer *writer, const char *name);
void fdt_node_end(struct fdt_writer *writer);
void fdt_property(struct fdt_writer *writer, const char *name, const void *data, size_t bytes);
void fdt_text(struct fdt_writer *writer, const char *name, const char *text);
void fdt_u32(struct fdt_writer *writer, const char *name, uint32_t value);
void fdt_u64(struct fdt_writer *writer, const char *name, uint64_t value);
void fdt_u64_pair(struct fdt_writer *writer, const char *name, uint64_t first, uint64_t second);
size_t fdt_finish(struct fdt_writer *writer); /* bytes of the whole, 0 if it did not fit */

#endif
