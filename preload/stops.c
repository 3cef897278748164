/* SPDX-License-Identifier: BSD-2-Clause */
/* The words of the stopped processes: see stops.h. */
#include "stops.h"

#include <sys/mman.h>
#include <unistd.h>

#include "../helper/wire/protocol.h"
#include "config.h"
#include "real.h"

#define WORDS_MAX (1u << 20)

static const _Atomic uint64_t none, *words; /* of the last session */
static uint32_t word_count;
const _Atomic uint64_t *_Atomic stops_word = &none;
_Atomic uint32_t stops_process;

static void set_process(uint32_t process)
{
	atomic_store(&stops_process, process);
	atomic_store(&stops_word, &words[process % word_count]);
}

/* With the channel's lock. An earlier session's words stay mapped: a receive may still look at them. */
void stops_session_consume(const struct wire_stops *message, int fd)
{
	const void *mapping = MAP_FAILED;

	if (message->words > 0 && message->words <= WORDS_MAX)
		mapping = mmap(NULL, message->words * sizeof(*words), PROT_READ, MAP_SHARED, fd, 0);
	real_close(fd);
	if (mapping == MAP_FAILED)
		return;
	words = mapping;
	word_count = message->words;
	set_process(message->process);
}

/* The child knows its number as the helper sees it if it sees its parent's so: no pid namespace lies between. */
void stops_forked(void)
{
	if (words && !config.trusts_filter && (uint32_t)getppid() == atomic_load(&stops_process))
		set_process((uint32_t)getpid());
	else
		atomic_store(&stops_word, &none);
}
