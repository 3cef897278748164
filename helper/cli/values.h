/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers for a person to read: values with their units, p values, names of quantiles. Each returns its buffer. */
#ifndef SMACCEL_CLI_VALUES_H
#define SMACCEL_CLI_VALUES_H

/* "12,345/s", "1.24 ms"; "-" for what is no number. Units that it knows: us, s, bit/s, B/s, 1/s. */
#define VALUE_BYTES 40
const char *value_text(char buffer[VALUE_BYTES], double value, const char *unit);
const char *value_text_p(char buffer[VALUE_BYTES], double p);

/* "p50", "p99.9", "max" for 0.5, 0.999, 1. */
#define QUANTILE_BYTES 16
const char *value_quantile_name(char buffer[QUANTILE_BYTES], double quantile);

#endif
