/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the binary layout of flattened device trees. The reader trusts the firmware that built the tree. */
#include "fdt.h"

#include <string.h>

enum { TOKEN_BEGIN = 1, TOKEN_END = 2, TOKEN_PROPERTY = 3, TOKEN_NOP = 4, TOKEN_DONE = 9 };
enum { MAGIC = 0xd00dfeed, VERSION = 17, VERSION_COMPATIBLE = 16, HEADER_BYTES = 40, RESERVED_BYTES = 16 };

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 24);
    p[1] = (uint8_t)(value >> 16);
    p[2] = (uint8_t)(value >> 8);
    p[3] = (uint8_t)value;
}

static size_t padded(size_t bytes)
{
    return (bytes + 3) & ~(size_t)3;
}

bool fdt_open(struct fdt_reader *reader, const void *blob)
{
    const uint8_t *header = blob;
    if (!blob || be32(header) != (uint32_t)MAGIC || be32(header + 24) > VERSION)
        return false;
    reader->at = header + be32(header + 8);
    reader->end = reader->at + be32(header + 36);
    reader->strings = (const char *)header + be32(header + 12);
    reader->depth = 0;
    return true;
}

static uint32_t next_token(struct fdt_reader *reader)
{
    while (reader->at < reader->end) {
        uint32_t token = be32(reader->at);
        reader->at += 4;
        if (token != TOKEN_NOP)
            return token;
    }
    return TOKEN_DONE;
}

void fdt_next(struct fdt_reader *reader, struct fdt_token *token)
{
    *token = (struct fdt_token){.kind = FDT_DONE};
    switch (next_token(reader)) {
    case TOKEN_BEGIN:
        token->kind = FDT_NODE;
        token->name = (const char *)reader->at;
        token->depth = reader->depth++;
        reader->at += padded(strlen(token->name) + 1);
        break;
    case TOKEN_END:
        token->kind = FDT_NODE_END;
        token->depth = --reader->depth;
        break;
    case TOKEN_PROPERTY:
        token->kind = FDT_PROPERTY;
        token->bytes = be32(reader->at);
        token->name = reader->strings + be32(reader->at + 4);
        token->data = reader->at + 8;
        token->depth = reader->depth;
        reader->at += 8 + padded(token->bytes);
        break;
    default: break;
    }
}

void fdt_skip_node(struct fdt_reader *reader)
{
    struct fdt_token token;
    unsigned outside = reader->depth - 1;
    do {
        fdt_next(reader, &token);
    } while (token.kind != FDT_DONE && reader->depth > outside);
}

uint64_t fdt_cells(const struct fdt_token *property, unsigned first, unsigned cells)
{
    uint64_t value = 0;
    if ((first + cells) * 4 > property->bytes)
        return 0;
    for (unsigned i = first; i < first + cells; i++)
        value = value << 32 | be32(property->data + 4 * i);
    return value;
}

bool fdt_string_has(const struct fdt_token *property, const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i + length <= property->bytes; i++)
        if (memcmp(property->data + i, text, length) == 0)
            return true;
    return false;
}

bool fdt_name_is(const struct fdt_token *token, const char *name)
{
    size_t length = strlen(name);
    size_t have = strlen(token->name);
    return have >= length && memcmp(token->name, name, length) == 0 && (have == length || token->name[length] == '@');
}

/* Room for n more bytes, zeroed and padded to a cell; NULL when the blob is full. */
static uint8_t *reserve(struct fdt_writer *writer, size_t bytes)
{
    size_t room = padded(bytes);
    if (writer->full || room > writer->capacity - writer->bytes) {
        writer->full = true;
        return NULL;
    }
    uint8_t *p = writer->blob + writer->bytes;
    memset(p, 0, room);
    writer->bytes += room;
    return p;
}

static void put_token(struct fdt_writer *writer, uint32_t token)
{
    uint8_t *p = reserve(writer, 4);
    if (p)
        put32(p, token);
}

static uint32_t name_offset(struct fdt_writer *writer, const char *name)
{
    size_t bytes = strlen(name) + 1;
    for (size_t at = 0; at < writer->names_bytes; at += strlen(writer->names + at) + 1)
        if (strlen(writer->names + at) + 1 == bytes && memcmp(writer->names + at, name, bytes) == 0)
            return (uint32_t)at;
    if (bytes > FDT_NAMES_BYTES - writer->names_bytes) {
        writer->full = true;
        return 0;
    }
    size_t at = writer->names_bytes;
    memcpy(writer->names + at, name, bytes);
    writer->names_bytes += bytes;
    return (uint32_t)at;
}

void fdt_begin(struct fdt_writer *writer, void *blob, size_t capacity)
{
    writer->blob = blob;
    writer->bytes = 0;
    writer->capacity = capacity;
    writer->names_bytes = 0;
    writer->full = false;
    (void)reserve(writer, HEADER_BYTES + RESERVED_BYTES);
}

void fdt_node(struct fdt_writer *writer, const char *name)
{
    put_token(writer, TOKEN_BEGIN);
    uint8_t *p = reserve(writer, strlen(name) + 1);
    if (p)
        memcpy(p, name, strlen(name));
}

void fdt_node_end(struct fdt_writer *writer)
{
    put_token(writer, TOKEN_END);
}

void fdt_property(struct fdt_writer *writer, const char *name, const void *data, size_t bytes)
{
    uint8_t *p = reserve(writer, 12 + bytes);
    uint32_t offset = name_offset(writer, name);
    if (!p)
        return;
    put32(p, TOKEN_PROPERTY);
    put32(p + 4, (uint32_t)bytes);
    put32(p + 8, offset);
    if (bytes)
        memcpy(p + 12, data, bytes);
}

void fdt_text(struct fdt_writer *writer, const char *name, const char *text)
{
    fdt_property(writer, name, text, strlen(text) + 1);
}

void fdt_u32(struct fdt_writer *writer, const char *name, uint32_t value)
{
    uint8_t data[4];
    put32(data, value);
    fdt_property(writer, name, data, sizeof data);
}

void fdt_u64(struct fdt_writer *writer, const char *name, uint64_t value)
{
    uint8_t data[8];
    put32(data, (uint32_t)(value >> 32));
    put32(data + 4, (uint32_t)value);
    fdt_property(writer, name, data, sizeof data);
}

void fdt_u64_pair(struct fdt_writer *writer, const char *name, uint64_t first, uint64_t second)
{
    uint8_t data[16];
    put32(data, (uint32_t)(first >> 32));
    put32(data + 4, (uint32_t)first);
    put32(data + 8, (uint32_t)(second >> 32));
    put32(data + 12, (uint32_t)second);
    fdt_property(writer, name, data, sizeof data);
}

size_t fdt_finish(struct fdt_writer *writer)
{
    put_token(writer, TOKEN_DONE);
    size_t structure_end = writer->bytes;
    uint8_t *names = reserve(writer, writer->names_bytes);
    if (!names)
        return 0;
    memcpy(names, writer->names, writer->names_bytes);

    size_t structure = HEADER_BYTES + RESERVED_BYTES;
    const uint32_t header[HEADER_BYTES / 4] = {
        (uint32_t)MAGIC,
        (uint32_t)writer->bytes,
        (uint32_t)structure,
        (uint32_t)structure_end,
        HEADER_BYTES,
        VERSION,
        VERSION_COMPATIBLE,
        0,
        (uint32_t)writer->names_bytes,
        (uint32_t)(structure_end - structure),
    };
    for (size_t i = 0; i < HEADER_BYTES / 4; i++)
        put32(writer->blob + 4 * i, header[i]);
    return writer->bytes;
}
