/* SPDX-License-Identifier: BSD-2-Clause */
/* What is said of the self-test's results. */
#include <errno.h>

#include "datapath_internal.h"
#include "selftest.h"

const char *selftest_outcome_name(enum selftest_outcome outcome)
{
	static const char *const names[] = { "holds", "worked around", "refused", "not tried" };

	_Static_assert(sizeof(names) / sizeof(names[0]) == SELFTEST_OUTCOME_COUNT, "a name each");
	return outcome < SELFTEST_OUTCOME_COUNT ? names[outcome] : "unknown";
}

const char *selftest_advice(int error)
{
	static const int lacks[] = { EPERM, EMFILE, ENFILE, ENOMEM, EAGAIN };

	for (size_t i = 0; i < sizeof(lacks) / sizeof(lacks[0]); i++)
		if (error == -lacks[i])
			return datapath_advice(error);
	return "it needs an interface lo that is up";
}
