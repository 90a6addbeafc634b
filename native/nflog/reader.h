/* Reads a group of NFLOG by a socket of our own and hands its messages on as a stream in pcap's file format. */
#ifndef NFLOG_READER_H
#define NFLOG_READER_H

#include <stdint.h>

/*
 * Binds the group (needs CAP_NET_ADMIN over the network namespace) and starts a thread, which ends when the other end of the pipe
 * is closed. Copies at most `copy_bytes` of each packet.
 * Returns the pipe's end to read from; below zero: an errno, and *step is what failed.
 */
int nflog_open(uint16_t group, uint32_t copy_bytes, const char **step);

#endif
