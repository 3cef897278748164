/* SPDX-License-Identifier: BSD-2-Clause */
#include "buckets.h"

#include "fields.h"

void buckets_add(struct histogram *histogram, const json_t *row)
{
	const json_t *bucket;
	size_t i;

	json_array_foreach (json_object_get(row, "buckets"), i, bucket) {
		json_int_t index = json_integer_value(json_array_get(bucket, 0));
		json_int_t count = json_integer_value(json_array_get(bucket, 1));

		if (index >= 0 && index < (json_int_t)HISTOGRAM_BUCKETS && count > 0)
			histogram_add_counts(histogram, (uint32_t)index, (uint64_t)count);
	}
	histogram_add_sum(histogram, fields_number(row, "sum_ns"), fields_number(row, "max_ns"));
}
