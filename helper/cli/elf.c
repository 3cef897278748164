/* SPDX-License-Identifier: BSD-2-Clause */
/* What the ELF headers of a program say about preloading. Read with pread, every offset and count checked: the file may
 * be anything. */
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "program.h"

#define HEADERS_MAX 128
#define DYNAMIC_MAX 1024

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OWN_MACHINE EM_AARCH64
#elif defined(__riscv)
#define OWN_MACHINE EM_RISCV
#else
#define OWN_MACHINE EM_NONE /* not compared */
#endif
#if __SIZEOF_POINTER__ == 8
#define OWN_CLASS ELFCLASS64
#else
#define OWN_CLASS ELFCLASS32
#endif

struct headers {
	ElfW(Phdr) entries[HEADERS_MAX];
	size_t count;
};

static bool read_at(int fd, void *buffer, size_t bytes, uint64_t offset)
{
	return offset <= INT64_MAX && pread(fd, buffer, bytes, (off_t)offset) == (ssize_t)bytes;
}

static const ElfW(Phdr) * find_header(const struct headers *headers, uint32_t type)
{
	for (size_t i = 0; i < headers->count; i++)
		if (headers->entries[i].p_type == type)
			return &headers->entries[i];
	return NULL;
}

/* File offset of a virtual address; UINT64_MAX if no segment holds it. */
static uint64_t file_offset(const struct headers *headers, uint64_t address)
{
	for (size_t i = 0; i < headers->count; i++) {
		const ElfW(Phdr) *entry = &headers->entries[i];

		if (entry->p_type == PT_LOAD && address >= entry->p_vaddr && address - entry->p_vaddr < entry->p_filesz)
			return entry->p_offset + (address - entry->p_vaddr);
	}
	return UINT64_MAX;
}

/* Whether a library that it needs is the ASan runtime. */
static bool needs_asan(int fd, const struct headers *headers)
{
	const ElfW(Phdr) *dynamic = find_header(headers, PT_DYNAMIC);
	ElfW(Dyn) entries[DYNAMIC_MAX];
	uint64_t strings = UINT64_MAX;
	size_t count;

	if (!dynamic)
		return false;
	count = dynamic->p_filesz / sizeof(entries[0]);
	if (count > DYNAMIC_MAX)
		count = DYNAMIC_MAX;
	if (!read_at(fd, entries, count * sizeof(entries[0]), dynamic->p_offset))
		return false;
	for (size_t i = 0; i < count && entries[i].d_tag != DT_NULL; i++)
		if (entries[i].d_tag == DT_STRTAB)
			strings = file_offset(headers, entries[i].d_un.d_ptr);
	if (strings == UINT64_MAX)
		return false;
	for (size_t i = 0; i < count && entries[i].d_tag != DT_NULL; i++) {
		char needed[64] = "";

		if (entries[i].d_tag != DT_NEEDED || entries[i].d_un.d_val > INT32_MAX)
			continue;
		if (pread(fd, needed, sizeof(needed) - 1, (off_t)(strings + entries[i].d_un.d_val)) <= 0)
			continue;
		if (!strncmp(needed, "libasan.so", strlen("libasan.so")))
			return true;
	}
	return false;
}

enum program_verdict elf_examine(int fd, struct program *program, bool *is_elf)
{
	unsigned char ident[EI_NIDENT];
	ElfW(Ehdr) header;
	struct headers headers = { .count = 0 };

	*is_elf = read_at(fd, ident, sizeof(ident), 0) && !memcmp(ident, ELFMAG, SELFMAG);
	if (!*is_elf)
		return PROGRAM_GOOD;
	if (ident[EI_CLASS] != OWN_CLASS)
		return PROGRAM_OTHER_CLASS;
	if (!read_at(fd, &header, sizeof(header), 0))
		return PROGRAM_NOT_EXECUTABLE;
	if (OWN_MACHINE != EM_NONE && header.e_machine != OWN_MACHINE)
		return PROGRAM_OTHER_CLASS;
	if (header.e_phentsize != sizeof(headers.entries[0]) || header.e_phnum > HEADERS_MAX ||
	    !read_at(fd, headers.entries, header.e_phnum * sizeof(headers.entries[0]), header.e_phoff))
		return PROGRAM_NOT_EXECUTABLE;
	headers.count = header.e_phnum;

	if (!find_header(&headers, PT_INTERP))
		return PROGRAM_STATIC;
	program->links_asan = needs_asan(fd, &headers);
	return PROGRAM_GOOD;
}
