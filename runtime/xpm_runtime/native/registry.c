#include "registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uintptr_t first, last;
    int is_writable;
    const RowLayout *rows;
    size_t row_bytes;
} Range;

static Range *ranges; /* in order of their addresses */
static size_t num_ranges, capacity;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

/* The number of ranges that begin at or before `address`. */
static size_t place_of(uintptr_t address) {
    size_t low = 0, high = num_ranges;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges[middle].first <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int is_allowed(const void *address, size_t size, int is_written) {
    uintptr_t first = (uintptr_t)address;
    pthread_rwlock_rdlock(&lock);
    size_t place = place_of(first);
    const Range *range = place ? ranges + place - 1 : NULL;
    int holds = range && first <= range->last && size <= range->last - first && (range->is_writable || !is_written);
    pthread_rwlock_unlock(&lock);
    return holds;
}

const RowLayout *layout_of(const void *address, size_t row_bytes) {
    uintptr_t first = (uintptr_t)address;
    pthread_rwlock_rdlock(&lock);
    size_t place = place_of(first);
    const Range *range = place ? ranges + place - 1 : NULL;
    int is_row = range && range->rows && first < range->last && row_bytes == range->row_bytes &&
        (first - range->first) % row_bytes == 0;
    const RowLayout *found = is_row ? range->rows + (first - range->first) / row_bytes : NULL;
    pthread_rwlock_unlock(&lock);
    return found;
}

int xpm_describe(uintptr_t address, const RowLayout *rows, size_t row_bytes) {
    pthread_rwlock_wrlock(&lock);
    size_t place = place_of(address);
    int holds = place && ranges[place - 1].first == address && row_bytes > 0;
    if (holds) ranges[place - 1].rows = rows, ranges[place - 1].row_bytes = row_bytes;
    pthread_rwlock_unlock(&lock);
    return holds;
}

int xpm_allow(uintptr_t address, size_t size, int is_writable) {
    int holds = 1;
    pthread_rwlock_wrlock(&lock);
    if (num_ranges == capacity) {
        size_t larger = capacity ? 2 * capacity : 64;
        Range *moved = realloc(ranges, larger * sizeof *ranges);
        holds = moved != NULL;
        if (moved) ranges = moved, capacity = larger;
    }
    if (holds) {
        size_t place = place_of(address);
        memmove(ranges + place + 1, ranges + place, (num_ranges - place) * sizeof *ranges);
        ranges[place] = (Range){address, address + size, is_writable, NULL, 0};
        num_ranges++;
    }
    pthread_rwlock_unlock(&lock);
    return holds;
}

void xpm_forbid(uintptr_t address) {
    pthread_rwlock_wrlock(&lock);
    size_t place = place_of(address);
    if (place && ranges[place - 1].first == address) {
        memmove(ranges + place - 1, ranges + place, (num_ranges - place) * sizeof *ranges);
        num_ranges--;
    }
    pthread_rwlock_unlock(&lock);
}
