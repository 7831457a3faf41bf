/*
 * The memory that the target and the helper share: a sealed memfd. region.go holds the same layout, and a test compares them.
 *
 *   header (one page) | ring 0 | ring 1 | ... | data of ring 0 | data of ring 1 | ...
 *
 * There is one ring for each reactor of the target. A ring has `depth` submission entries, as many completions, and as many
 * slots; a slot is `slot_bytes` of data and belongs to one request from its submission to its completion, so neither queue
 * can run over. The target writes sq and sq_tail, the helper writes cq, cq_tail and running.
 */
#ifndef POLLUX_TCMUR_REGION_H
#define POLLUX_TCMUR_REGION_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define REGION_MAGIC 0x31554d4354584c50ull /* "PLXTCMU1" */
#define REGION_PAGE 4096
#define RINGS_MAX 256
#define DEPTH_MAX 1024
#define SLOT_BYTES_MAX (16u << 20)

enum op { OP_READ = 1, OP_WRITE, OP_FLUSH, OP_UNMAP, OP_WRITESAME, OP_CAW };

struct region_header {
	uint64_t magic;
	uint32_t rings;
	uint32_t depth;
	uint32_t slot_bytes;
	uint32_t ring_stride; /* bytes */
	uint64_t data_off;
	uint64_t bytes; /* of the region */
	uint8_t pad[256 - 40];
	_Alignas(64) _Atomic uint32_t wake_seq; /* the target adds 1 for each batch; idle workers wait on it */
	_Alignas(64) _Atomic uint32_t sleepers; /* workers that wait */
};

struct sqe {
	uint32_t slot;
	uint32_t gen; /* of the slot; the completion repeats it */
	uint32_t op;
	uint32_t data; /* bytes of the slot that the operation reads or fills */
	uint64_t off;  /* bytes */
	uint64_t len;  /* bytes of the device */
	uint64_t pad[4];
};

struct cqe {
	uint32_t slot;
	uint32_t gen;
	int32_t status; /* TCMU_STS_* */
	uint32_t pad;
	uint64_t info; /* a miscompare: its offset in bytes; TCMU_STS_PASSTHROUGH_ERR: sense key << 16 | ASC << 8 | ASCQ */
	uint64_t pad2;
};

/* The fixed part of a ring; sq, cq and running follow it in this order, each `depth` entries. */
struct ring_header {
	_Alignas(64) _Atomic uint32_t sq_tail;
	_Alignas(64) _Atomic uint32_t cq_tail;
	_Alignas(64) _Atomic uint32_t armed; /* the reactor sleeps: write one byte to its pipe */
	uint8_t pad[60];
};

_Static_assert(offsetof(struct region_header, wake_seq) == 256, "wake_seq");
_Static_assert(offsetof(struct region_header, sleepers) == 320, "sleepers");
_Static_assert(offsetof(struct ring_header, cq_tail) == 64, "cq_tail");
_Static_assert(offsetof(struct ring_header, armed) == 128, "armed");
_Static_assert(sizeof(struct ring_header) == 192, "ring_header");
_Static_assert(sizeof(struct sqe) == 64, "sqe");
_Static_assert(sizeof(struct cqe) == 32, "cqe");

#endif
