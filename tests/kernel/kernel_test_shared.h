/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the tests and their verdict share. */
#ifndef SMACCEL_KERNEL_TEST_SHARED_H
#define SMACCEL_KERNEL_TEST_SHARED_H

#include <linux/types.h>

enum kernel_test_mode {
	KERNEL_TEST_PASS = 0,
	KERNEL_TEST_REDIRECT = 1,         /* whatever the helper says, SK_PASS is returned */
	KERNEL_TEST_REDIRECT_OR_DROP = 2, /* the helper's result is returned */
};

struct kernel_test_control {
	__u32 mode;
	__u32 reserved;
	__u64 runs; /* of the verdict */
	__u64 redirected;
};

#endif
