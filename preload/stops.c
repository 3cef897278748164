/* SPDX-License-Identifier: BSD-2-Clause */
/* The words of the stopped processes: see stops.h. */
#include "stops.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../helper/wire/protocol.h"
#include "config.h"
#include "real.h"

#define WORDS_MAX (1u << 20)

static const _Atomic uint64_t none, *words; /* of the last session that had any */
static uint32_t word_count;
static bool proc_tells; /* /proc, as it is mounted here, has the numbers that the helper sees */
const _Atomic uint64_t *_Atomic stops_word = &none;
_Atomic uint32_t stops_process;

static void set_process(uint32_t process)
{
	atomic_store(&stops_process, process);
	atomic_store(&stops_word, &words[process % word_count]);
}

/* 0: it does not tell. */
static uint32_t number_in_proc(void)
{
	char text[16];
	int saved = errno;
	ssize_t length = config.trusts_filter ? -1 : readlink("/proc/self", text, sizeof(text) - 1);

	errno = saved;
	text[length < 0 ? 0 : length] = 0;
	return (uint32_t)strtoul(text, NULL, 10);
}

/* A receive may be looking at an earlier session's words, so these come where those are, if they are as many: it finds its
 * process's word there still, and a stop in it that the next helper has noted. The kernel keeps a quarter of a MB of them
 * in memory for each mapping. First they are mapped elsewhere, as a file that cannot be would leave nothing in that place. */
static const void *map_words(uint32_t count, int fd)
{
	size_t bytes = count * sizeof(*words);
	const void *fresh = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);

	if (fresh == MAP_FAILED || !words || count != word_count ||
	    mmap((void *)words, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return fresh;
	munmap((void *)fresh, bytes);
	return (const void *)words;
}

/* With the channel's lock. */
void stops_session_consume(const struct wire_stops *message, int fd)
{
	const void *mapping = MAP_FAILED;

	if (message->words > 0 && message->words <= WORDS_MAX)
		mapping = map_words(message->words, fd);
	real_close(fd);
	if (mapping == MAP_FAILED)
		return;
	words = mapping;
	word_count = message->words;
	set_process(message->process);
	proc_tells = number_in_proc() == message->process;
}

/* The child knows its number as the helper sees it if it sees its parent's so: no pid namespace lies between. In another one it is still
 * told by the parent's /proc, which its own, in which it has the number that it has for itself, may have replaced. */
void stops_forked(void)
{
	bool is_known = words && !config.trusts_filter;
	uint32_t own = (uint32_t)getpid(), told;

	if (is_known && (uint32_t)getppid() == atomic_load(&stops_process))
		set_process(own);
	else if (is_known && proc_tells && (told = number_in_proc()) && told != own)
		set_process(told);
	else
		atomic_store(&stops_word, &none);
}
