/* SPDX-License-Identifier: BSD-2-Clause */
#include "plots.h"

#include <math.h>

const char *const plot_arm_class[PLOT_ARMS] = { "a", "b" };

void plot_include(struct svg_axis *axis, double value)
{
	if (!isfinite(value) || (axis->logarithmic && value <= 0))
		return;
	axis->low = fmin(axis->low, value);
	axis->high = fmax(axis->high, value);
}
