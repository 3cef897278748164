// SPDX-License-Identifier: BSD-2-Clause
// go_peer server | client PORT SIZE RELEASE: peer.py in Go, whose runtime makes its system calls itself.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const piece = 65536
const turns = 300

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// The bytes of a stream: pieces that begin with their number.
type stream struct{ at, size int }

func (s *stream) Read(out []byte) (int, error) {
	if s.at == s.size {
		return 0, io.EOF
	}
	var block [piece]byte
	for i := range block {
		block[i] = byte(i*7 + i>>8)
	}
	binary.BigEndian.PutUint64(block[:], uint64(s.at/piece))
	count := copy(out, block[s.at%piece:])
	if count > s.size-s.at {
		count = s.size - s.at
	}
	s.at += count
	return count, nil
}

func sum(from io.Reader) string {
	hash := sha256.New()
	count, err := io.Copy(hash, from)
	must(err)
	return fmt.Sprintf("%x %d", hash.Sum(nil), count)
}

// Hides what io.Copy would take a short cut by.
type onlyReader struct{ io.Reader }

func send(conn net.Conn, size int) {
	_, err := io.CopyBuffer(conn, onlyReader{&stream{0, size}}, make([]byte, piece))
	must(err)
}

func serve(conn *net.TCPConn) {
	defer conn.Close()
	from := bufio.NewReaderSize(conn, 20000)
	line, err := from.ReadString('\n')
	if err != nil {
		return // nothing but a look whether the port answers
	}
	words := strings.Fields(line)
	size, err := strconv.Atoi(words[1])
	must(err)
	switch words[0] {
	case "echo":
		for {
			message, err := readMessage(from)
			if err != nil {
				return
			}
			writeMessage(conn, message)
		}
	case "put":
		fmt.Fprintln(conn, sum(from))
	case "get":
		send(conn, size)
		must(conn.CloseWrite())
		answer, err := io.ReadAll(from)
		must(err)
		if string(answer) != "done" {
			panic(answer)
		}
	case "both":
		done := make(chan bool)
		go func() {
			send(conn, size)
			done <- true
		}()
		answer := sum(from)
		<-done
		fmt.Fprintln(conn, answer)
	}
}

func readMessage(from io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint32(length[:]))
	_, err := io.ReadFull(from, message)
	return message, err
}

func writeMessage(to io.Writer, message []byte) {
	must(binary.Write(to, binary.BigEndian, uint32(len(message))))
	_, err := to.Write(message)
	must(err)
}

func dial(port, command string, size int) *net.TCPConn {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	must(err)
	fmt.Fprintln(conn, command, size)
	return conn.(*net.TCPConn)
}

func echo(conn net.Conn, count int) (total int) {
	sizes := []int{1, 64, 1000, 1460, 16384, 100003}
	for turn := 0; turn < count; turn++ {
		message, _ := io.ReadAll(&stream{0, sizes[turn%len(sizes)]})
		message[0] = byte(turn)
		sent := make(chan bool)
		go func() {
			writeMessage(conn, message)
			sent <- true
		}()
		answer, err := readMessage(conn)
		must(err)
		<-sent
		if !bytes.Equal(answer, message) {
			panic(fmt.Sprint("turn ", turn))
		}
		total += len(answer)
	}
	return
}

func client(port string, size int, release string) {
	kept := dial(port, "echo", 0)
	echoed := echo(kept, turns)

	put := dial(port, "put", size)
	send(put, size)
	must(put.CloseWrite())
	answer, err := io.ReadAll(put)
	must(err)
	put.Close()

	get := dial(port, "get", size)
	got := sum(get)
	get.Write([]byte("done"))
	get.Close()

	both := dial(port, "both", size)
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		defer group.Done()
		send(both, size)
		must(both.CloseWrite())
	}()
	half := sum(io.LimitReader(both, int64(size)))
	group.Wait()
	other, err := io.ReadAll(both)
	must(err)
	both.Close()

	fmt.Println("held")
	for i := 0; i < 6000; i++ {
		if _, err := os.Stat(release); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	echoed += echo(kept, turns)
	kept.Close()
	fmt.Printf("{\"echoed\": %d, \"put\": %q, \"get\": %q, \"both\": [%q, %q]}\n", echoed, strings.TrimSpace(string(answer)), got, half,
		strings.TrimSpace(string(other)))
}

func main() {
	if os.Args[1] == "client" {
		size, err := strconv.Atoi(os.Args[3])
		must(err)
		client(os.Args[2], size, os.Args[4])
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		must(err)
		go serve(conn.(*net.TCPConn))
	}
}
