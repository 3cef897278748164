/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether a program can be preloaded into, found out before it is run: the dynamic linker would say nothing. */
#ifndef SMACCEL_CLI_PROGRAM_H
#define SMACCEL_CLI_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

enum program_verdict {
	PROGRAM_GOOD = 0,
	PROGRAM_NOT_FOUND,
	PROGRAM_NOT_EXECUTABLE,
	PROGRAM_UNREADABLE, /* it may run, but cannot be looked at: taken as good */
	PROGRAM_SETUID,
	PROGRAM_SETGID,
	PROGRAM_FILE_CAPABILITY,
	PROGRAM_STATIC,
	PROGRAM_OTHER_CLASS, /* 32-bit, or of another machine */
	PROGRAM_VERDICT_COUNT
};

#define PROGRAM_PATH_BYTES 4096

struct program {
	char path[PROGRAM_PATH_BYTES]; /* what decided: the program, or the interpreter of a script */
	bool links_asan;               /* the ASan runtime is a library that it needs */
};

/* Resolves `name` as execvp() does and looks at what would run; of a script, at its interpreter (and through env at the
 * program that env runs). */
enum program_verdict program_examine(const char *name, struct program *program);

/* The rest of the sentence "cannot accelerate PATH: ..."; never NULL. */
const char *program_verdict_text(enum program_verdict verdict);

/* ---- elf.c ---- */
/* Reads an ELF file of this machine's class: fills program->links_asan. PROGRAM_GOOD also for what is no ELF (*is_elf). */
enum program_verdict elf_examine(int fd, struct program *program, bool *is_elf);

#endif
