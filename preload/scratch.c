/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory beside the stack: see scratch.h. Static: it takes room only once it is used. */
#include "scratch.h"

#include <stdatomic.h>
#include <stdbool.h>

#define PLACES 8

char scratch_nowhere[NOWHERE_BYTES];

static char places[PLACES][SCRATCH_BYTES] __attribute__((aligned(4096)));
static _Atomic bool taken[PLACES];

char *scratch_take(void)
{
	for (int i = 0; i < PLACES; i++)
		if (!atomic_exchange(&taken[i], true))
			return places[i];
	return NULL;
}

void scratch_give_back(char *memory)
{
	if (memory)
		atomic_store(&taken[(size_t)(memory - places[0]) / SCRATCH_BYTES], false);
}
