/* The rest of what libtcmu exports to handlers: scatter lists, CDB fields, sense data. */
#define _GNU_SOURCE
#include <string.h>

#include "host.h"

#define EXPORT(type, name, ...) type name(__VA_ARGS__); type name(__VA_ARGS__)

EXPORT(size_t, tcmu_iovec_length, struct iovec *iov, size_t count)
{
	size_t n = 0;
	for (size_t i = 0; i < count; i++)
		n += iov[i].iov_len;
	return n;
}

/* tcmu_iovec_seek drops the first bytes; pieces that are used up stay, empty. It returns how many pieces are. */
EXPORT(size_t, tcmu_iovec_seek, struct iovec *iov, size_t bytes)
{
	size_t used = 0;
	for (; bytes > 0; iov++) {
		size_t n = bytes < iov->iov_len ? bytes : iov->iov_len;
		iov->iov_base = (char *)iov->iov_base + n;
		iov->iov_len -= n;
		bytes -= n;
		if (bytes > 0 || iov->iov_len == 0)
			used++;
	}
	return used;
}

EXPORT(void, tcmu_iovec_zero, struct iovec *iov, size_t count)
{
	for (size_t i = 0; i < count; i++)
		memset(iov[i].iov_base, 0, iov[i].iov_len);
}

EXPORT(bool, tcmu_iovec_zeroed, struct iovec *iov, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < iov[i].iov_len; j++)
			if (((char *)iov[i].iov_base)[j] != 0)
				return false;
	return true;
}

/* tcmu_iovec_compare returns the offset of the first difference, -1 for none. */
EXPORT(off_t, tcmu_iovec_compare, void *mem, struct iovec *iov, size_t size)
{
	const uint8_t *p = mem;
	off_t at = 0;
	for (; size > 0; iov++) {
		size_t n = size < iov->iov_len ? size : iov->iov_len;
		for (size_t i = 0; i < n; i++, at++)
			if (*p++ != ((uint8_t *)iov->iov_base)[i])
				return at;
		size -= n;
	}
	return -1;
}

/* copy moves up to len bytes between mem and iov, which is consumed, and returns how many it moved. */
static size_t copy(struct iovec *iov, size_t count, uint8_t *mem, size_t len, bool into)
{
	size_t done = 0;
	while (count > 0 && done < len) {
		size_t n = len - done < iov->iov_len ? len - done : iov->iov_len;
		if (into)
			memcpy(iov->iov_base, mem + done, n);
		else
			memcpy(mem + done, iov->iov_base, n);
		iov->iov_base = (char *)iov->iov_base + n;
		iov->iov_len -= n;
		done += n;
		if (iov->iov_len == 0) {
			iov++;
			count--;
		}
	}
	return done;
}

size_t tcmu_memcpy_into_iovec(struct iovec *iov, size_t count, void *src, size_t len)
{
	return copy(iov, count, src, len, true);
}

size_t tcmu_memcpy_from_iovec(void *dest, size_t len, struct iovec *iov, size_t count)
{
	return copy(iov, count, dest, len, false);
}

EXPORT(void, tcmu_cmd_seek, struct tcmulib_cmd *cmd, size_t bytes)
{
	size_t used = tcmu_iovec_seek(cmd->iovec, bytes);
	cmd->iovec += used;
	cmd->iov_cnt -= used;
}

static uint64_t big_endian(const uint8_t *p, int n)
{
	uint64_t v = 0;
	while (n-- > 0)
		v = v << 8 | *p++;
	return v;
}

/* SPC-4 4.2.5: the length of a CDB follows from its group. */
EXPORT(int, tcmu_cdb_get_length, uint8_t *cdb)
{
	static const int length[8] = {6, 10, 10, -1, 16, 12, -1, -1};
	return cdb[0] == 0x7f ? cdb[7] + 8 : length[cdb[0] >> 5];
}

EXPORT(uint64_t, tcmu_cdb_get_lba, uint8_t *cdb)
{
	switch (tcmu_cdb_get_length(cdb)) {
	case 6: return big_endian(cdb + 1, 3) & 0x1fffff;
	case 10: case 12: return big_endian(cdb + 2, 4);
	case 16: return big_endian(cdb + 2, 8);
	default: return 0;
	}
}

EXPORT(uint32_t, tcmu_cdb_get_xfer_length, uint8_t *cdb)
{
	switch (tcmu_cdb_get_length(cdb)) {
	case 6: return cdb[4];
	case 10: return big_endian(cdb + 7, 2);
	case 12: return big_endian(cdb + 6, 4);
	case 16: return big_endian(cdb + 10, 4);
	default: return 0;
	}
}

EXPORT(uint64_t, tcmu_cdb_to_byte, struct tcmu_device *dev, uint8_t *cdb)
{
	return tcmu_cdb_get_lba(cdb) * tcmu_dev_get_block_size(dev);
}

EXPORT(void, tcmu_cdb_print_info, struct tcmu_device *dev, const struct tcmulib_cmd *cmd, const char *text)
{
	(void)dev;
	say('D', "operation 0x%02x %s", cmd->cdb[0], text ? text : "");
}

/* Fixed-format sense data (SPC-4 4.5.3). */
EXPORT(void, __tcmu_sense_set_data, uint8_t *sense, uint8_t key, uint16_t asc_ascq)
{
	memset(sense, 0, 18);
	sense[0] = 0x70;
	sense[2] = key;
	sense[7] = 10;
	sense[12] = asc_ascq >> 8;
	sense[13] = asc_ascq;
}

EXPORT(int, tcmu_sense_set_data, uint8_t *sense, uint8_t key, uint16_t asc_ascq)
{
	__tcmu_sense_set_data(sense, key, asc_ascq);
	return TCMU_STS_PASSTHROUGH_ERR;
}

void tcmu_sense_set_info(uint8_t *sense, uint32_t info)
{
	sense[0] |= 0x80;
	sense[3] = info >> 24;
	sense[4] = info >> 16;
	sense[5] = info >> 8;
	sense[6] = info;
}

EXPORT(void, tcmu_sense_set_key_specific_info, uint8_t *sense, uint16_t info)
{
	sense[15] = 0x80;
	sense[16] = info >> 8;
	sense[17] = info;
}
